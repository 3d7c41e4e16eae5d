/** Passwords: the login page, screens without a keyboard, and pages of strangers. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import test, { after, before } from 'node:test';
import {
  allLive, artifacts, cameraTable, Daemon, faultsOf, keepPicture, launchBrowser, LIMIT, openPage, showsCamera, until,
} from './harness.mjs';

const PASSWORD = 'öpen & sesame=1';
const CAMERA = ['alpha'];

let browser;
let stranger;
before(async () => {
  // A public name that leads here, as DNS rebinding makes them.
  browser = await launchBrowser(['--host-resolver-rules=MAP evil.test 127.0.0.1']);
  stranger = http.createServer((_, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<!doctype html><title>Not ours</title>');
  });
  await once(stranger.listen(0, '127.0.0.1'), 'listening');
});
after(async () => {
  await browser?.close();
  stranger?.close();
});

/**
 * A test with a daemon of its own.
 * @param {string} name
 * @param {(daemon: Daemon) => Promise<void>} body
 * @param {() => string} [access] its `[access]`
 */
function withDaemon(name, body, access = withPassword) {
  test(name, async () => {
    const daemon = await Daemon.start(cameraTable('alpha') + access());
    try {
      await body(daemon);
    } finally {
      await Promise.all(browser.contexts().map((context) => context.close()));
      await daemon.stop();
    }
  });
}

function withPassword(file = passwordFile()) {
  return `[access]\nviewer_password_file = ${JSON.stringify(file)}\n`;
}

function passwordFile() {
  const file = path.join(mkdtempSync(path.join(artifacts, 'secret-')), 'viewer-password');
  writeFileSync(file, `${PASSWORD}\n`);
  return file;
}

withDaemon('who knows the password sees the wall, and goes on seeing it', async (daemon) => {
  const page = await openPage(browser, `${daemon.url}?room=home&camera=alpha`, { width: 390, height: 780 });
  const password = page.getByLabel('Password or token');
  await password.waitFor();
  assert.equal(await page.title(), 'Log in · camera wall');
  // The browser gives the focus with the first frame, which may come after the page.
  await until('the focus to be where it is typed', () => password.evaluate((input) => input === document.activeElement));
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'it fits a phone');
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), 'rgb(11, 13, 16)', 'its style is there');
  await keepPicture(page, 'login');

  await password.fill('not this one');
  await password.press('Enter');
  await page.getByRole('alert').getByText('That password is wrong.').waitFor();
  await keepPicture(page, 'login-wrong');
  assert.ok(!await page.evaluate(() => 'portald' in window));

  await page.getByLabel('Password or token').fill(PASSWORD);
  await page.getByRole('button', { name: 'Show the cameras' }).click();
  await page.waitForURL(`${daemon.url}?room=home&camera=alpha`);
  await allLive(page, CAMERA);
  assert.equal(page.url(), `${daemon.url}?room=home&camera=alpha`);
  await showsCamera(page, 'alpha');
  await page.reload();
  await allLive(page, CAMERA);
  assert.deepEqual(faultsOf(page), []);
  assert.ok(!daemon.log().includes(PASSWORD), 'no password in the log');

  // The same browser, after a restart of the daemon: a screen on a wall logs in once.
  await daemon.stop();
  await daemon.run();
  await page.reload();
  await allLive(page, CAMERA);

  await page.goto(`${daemon.url}login`);
  const logOut = page.getByRole('button', { name: 'Log out on this device' });
  await logOut.click();
  // It leads to the same address again, so that alone says nothing; to go elsewhere before would call it off.
  await logOut.waitFor({ state: 'detached' });
  await page.waitForURL(`${daemon.url}login`);
  await page.goto(daemon.url);
  await page.getByLabel('Password or token').waitFor();
});

withDaemon('a screen without a keyboard has the password in its address', async (daemon) => {
  const url = new URL(daemon.url);
  url.searchParams.set('token', PASSWORD);
  const page = await openPage(browser, url);
  await allLive(page, CAMERA);
  await showsCamera(page, 'alpha');
  assert.equal(page.url(), url.href, 'nothing is removed');
  assert.deepEqual(await page.context().cookies(), []);
  await page.getByRole('link', { name: 'mesh', exact: true }).click();
  // Until then the wall of before is there, as live.
  await page.waitForURL(({ searchParams }) => searchParams.get('room') === 'mesh');
  await allLive(page, CAMERA);
  assert.equal(new URL(page.url()).searchParams.get('room'), 'mesh');
  assert.deepEqual(faultsOf(page), []);
});

test('screens that nobody looks after come back by themselves when the password is the old one again', async () => {
  const file = passwordFile();
  const daemon = await Daemon.start(cameraTable('alpha') + withPassword(file));
  const open = async (address) => {
    const context = await browser.newContext();
    context.setDefaultTimeout(LIMIT);
    await context.addInitScript(() => {
      const real = window.setInterval;
      // It is tried every half minute.
      window.setInterval = (body, ms, ...more) => real(body, ms === 30_000 ? 3_000 : ms, ...more);
    });
    const page = await context.newPage();
    await page.goto(String(address));
    return page;
  };
  const showsWall = async (screen) => {
    // Nothing can be asked of a page that is on its way to another; to wait for what is on it can be.
    await screen.locator('.tile').first().waitFor();
    await allLive(screen, CAMERA);
  };
  try {
    const withToken = new URL('?kiosk', daemon.url);
    withToken.searchParams.set('token', PASSWORD);
    const withCookie = await open(`${daemon.url}?kiosk`);
    await withCookie.getByLabel('Password or token').fill(PASSWORD);
    await withCookie.keyboard.press('Enter');
    const screens = [withCookie, await open(withToken)];
    for (const screen of screens) await showsWall(screen);
    await daemon.stop();
    writeFileSync(file, 'another one');
    await daemon.run();
    for (const screen of screens) await screen.getByLabel('Password or token').waitFor();
    // And one that is switched on just now.
    screens.push(await open(withToken));
    await screens[2].getByLabel('Password or token').waitFor();
    // Others wait for somebody who logs in.
    const desk = await open(daemon.url);
    writeFileSync(file, PASSWORD);
    daemon.process.kill('SIGHUP');
    for (const screen of screens) await showsWall(screen);
    assert.ok(screens.every((screen) => new URL(screen.url()).searchParams.has('kiosk')));
    assert.equal(await desk.getByLabel('Password or token').count(), 1);
  } finally {
    await Promise.all(browser.contexts().map((context) => context.close()));
    await daemon.stop();
  }
});

withDaemon('a page of one’s own gets in with the token, and is told when it does not', async (daemon) => {
  const page = await openPage(browser, `http://localhost:${stranger.address().port}/`);
  const meet = (token) => page.evaluate(async ([server, given]) => {
    const { PortalGun } = await import(`${server}client.js`);
    const gun = new PortalGun({ room: 'home', token: given });
    const outcome = await new Promise((resolve) => {
      gun.addEventListener('info', ({ members }) => resolve(members.map(({ id }) => id)));
      gun.addEventListener('error', ({ code }) => resolve(code));
    });
    gun.close();
    return outcome;
  }, [daemon.url, token]);
  assert.deepEqual(await meet(PASSWORD), ['!alpha']);
  assert.equal(await meet(undefined), 'unauthorized');
  assert.equal(await meet('wrong'), 'unauthorized');
});

withDaemon('a stranger’s page can neither connect nor read, nor pretend to be this box', async (daemon) => {
  const { port } = stranger.address();
  // The same page from an origin that may: what is refused below is refused for where it comes from.
  const friend = await openPage(browser, `http://localhost:${port}/`);
  assert.deepEqual(await attack(friend, daemon), { socket: 'open', api: 'TypeError', client: 'loaded' });
  const evil = await openPage(browser, `http://evil.test:${port}/`);
  assert.deepEqual(await attack(evil, daemon), { socket: 'error', api: 'TypeError', client: 'TypeError' });
  // What the daemon writes comes another way than what the page hears.
  await until('the refusal in the log', async () =>
    /refused 127\.0\.0\.1: pages of http:\/\/evil\.test:\d+ may not connect/.test(daemon.log()), () => daemon.log());

  const rebound = await openPage(browser, `http://evil.test:${daemon.port}/api/cameras`);
  const { error } = JSON.parse(await rebound.locator('body').innerText());
  assert.equal(error.code, 'host_refused');
  assert.match(error.message, /hosts = \["evil\.test"\]/);
  assert.deepEqual(Object.keys((await daemon.get('api/cameras'))[0]).slice(0, 2), ['name', 'title'], 'we read it');
}, () => '');

/** What a page gets of the daemon: a socket, the cameras' names, the client module. */
function attack(page, daemon) {
  return page.evaluate(async (server) => {
    const socket = new Promise((resolve) => {
      const attempt = new WebSocket(`${server.replace('http', 'ws')}portal?room=home`);
      attempt.onopen = () => resolve('open');
      attempt.onerror = () => resolve('error');
    });
    const api = fetch(`${server}api/cameras`).then(() => 'read', (error) => error.name);
    const client = import(`${server}client.js`).then(() => 'loaded', (error) => error.name);
    return { socket: await socket, api: await api, client: await client };
  }, daemon.url);
}
