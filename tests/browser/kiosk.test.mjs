/** Screens that nobody looks after: they stay on, pass over what is dead, and never end on an error page. */
import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import test, { after, before } from 'node:test';
import { allLive, artifacts, CAMERAS, cameraTable, Daemon, faultsOf, hide, keepPicture, launchBrowser, LIMIT, openPage, until } from './harness.mjs';

const ADMIN = 'turn-it-off';

let browser;
before(async () => { browser = await launchBrowser(); });
after(() => browser?.close());

/**
 * A test with a daemon of its own.
 * @param {string} name
 * @param {(daemon: Daemon) => Promise<void>} body
 * @param {() => string} config
 */
function withDaemon(name, body, config = () => cameraTable('alpha')) {
  test(name, async () => {
    const daemon = await Daemon.start(config());
    try {
      await body(daemon);
    } finally {
      await Promise.all(browser.contexts().map((context) => context.close()));
      await daemon.stop();
    }
  });
}

/** A file with a secret. */
function secret(text) {
  const file = path.join(mkdtempSync(path.join(artifacts, 'secret-')), 'secret');
  writeFileSync(file, `${text}\n`);
  return file;
}

withDaemon('the screen is kept on, anew after each time that the page was out of sight, and the pointer is out of the way', async (daemon) => {
  const context = await browser.newContext({ viewport: { width: 800, height: 600 } });
  const kiosk = await context.newPage();
  // Headless there is no screen to keep on; the browser's answers are its own, as to a page in a window.
  await kiosk.addInitScript(() => {
    window.locks = [];
    Object.defineProperty(navigator, 'wakeLock', { value: { request: async (type) => {
      const lock = { type, released: false };
      window.locks.push(lock);
      return lock;
    } } });
  });
  await kiosk.goto(`${daemon.url}?kiosk`);
  await allLive(kiosk, ['alpha']);
  const locks = () => kiosk.evaluate(() => window.locks);
  await until('the lock', async () => (await locks()).length === 1);
  await hide(kiosk, false);
  assert.equal((await locks()).length, 1, 'one that holds is enough');
  await kiosk.evaluate(() => { window.locks[0].released = true; });
  await hide(kiosk, true);
  assert.equal((await locks()).length, 1, 'none where nobody sees it');
  await hide(kiosk, false);
  await until('the lock to be taken again', async () => (await locks()).length === 2);
  assert.ok((await locks()).every(({ type }) => type === 'screen'));

  const cursor = () => kiosk.evaluate(() => getComputedStyle(document.body).cursor);
  assert.equal(await cursor(), 'none');
  // Seen by the page as it moves: 3 s later it is hidden again, and a slow machine may ask no sooner.
  await kiosk.evaluate(() => addEventListener('pointermove', () => { window.moved = getComputedStyle(document.body).cursor; }));
  await kiosk.mouse.move(100, 100);
  await kiosk.mouse.move(120, 120);
  assert.notEqual(await until('the pointer to move', () => kiosk.evaluate(() => window.moved)), 'none', 'who moves it sees it');
  await until('the pointer to go', async () => await cursor() === 'none');
  assert.equal(await kiosk.evaluate(() => getComputedStyle(document.documentElement).position), 'static');
  assert.ok(await kiosk.locator('#tools').isHidden());
});

withDaemon('a camera that is down is passed over, and shown again when it is back', async (daemon) => {
  const kiosk = await openPage(browser, `${daemon.url}?kiosk&cycle=3`);
  await allLive(kiosk);
  await kiosk.evaluate(() => {
    window.shown = [];
    new MutationObserver(() => {
      const title = document.querySelector('.large .title')?.textContent ?? 'all';
      if (window.shown.at(-1) !== title) window.shown.push(title);
    }).observe(document.getElementById('grid'), { subtree: true, attributeFilter: ['class'] });
  });
  const shown = () => kiosk.evaluate(() => window.shown);
  const enable = async (enabled) => {
    const answer = await fetch(`${daemon.url}api/cameras/bravo`, {
      method: 'PATCH', headers: { authorization: `Bearer ${ADMIN}`, 'content-type': 'application/json' }, body: JSON.stringify({ enabled }),
    });
    assert.equal(answer.status, 200);
  };
  await until('another to be large', async () => ['Camera alpha', 'Camera charlie'].includes((await shown()).at(-1)), shown);
  await enable(false);
  await until('the page to know', () => kiosk.evaluate(() => window.portald.tiles.get('!bravo').state.state === 'disabled'));
  await kiosk.evaluate(() => { window.shown = []; });
  // Each of the others twice; not four in all, for a busy machine's encoder may be late, and then they are passed over, too.
  const round = await until('two rounds', async () => {
    const titles = (await shown()).filter((title) => title !== 'all');
    return ['Camera alpha', 'Camera charlie'].every((other) => titles.filter((title) => title === other).length > 1) && titles;
  }, shown);
  assert.ok(!round.slice(1).includes('Camera bravo'), `${round}`);
  await enable(true);
  await until('it to be shown again', async () => (await shown()).slice(round.length).includes('Camera bravo'), shown);
  assert.deepEqual(faultsOf(kiosk), []);
}, () => `[access]\nadmin_token_file = ${JSON.stringify(secret(ADMIN))}\n${CAMERAS.map((name) => cameraTable(name)).join('')}`);

withDaemon('a new daemon’s page is loaded when it can be had, and until then the old one stays', async (daemon) => {
  const kiosk = await openPage(browser, `${daemon.url}?kiosk`);
  await allLive(kiosk, ['alpha']);
  await kiosk.evaluate(() => { window.old = true; });
  // What it asks last of all as it starts: without an answer the other daemon's version would be the first it knows.
  await kiosk.waitForFunction(() => performance.getEntriesByName(new URL('api/version', location.href).href).length > 0);
  await daemon.stop('SIGKILL');
  // As a new daemon would answer; its pages cannot be changed at run time. In the page's place there is an error, as of
  // a proxy before it, or of a daemon that has not all of itself together.
  await kiosk.route('**/api/version', (route) => route.fulfill({ json: { version: '99', page: 'another' } }));
  let asked = 0;
  await kiosk.route(`${daemon.url}?kiosk`, (route) => {
    asked++;
    return route.fulfill({ status: 503, body: 'not yet' });
  });
  await daemon.run();
  await until('the page to be asked for', async () => asked > 0);
  await allLive(kiosk, ['alpha']);
  assert.equal(await kiosk.evaluate(() => window.old), true, 'an error is not loaded');
  await kiosk.unroute(`${daemon.url}?kiosk`);
  await kiosk.evaluate(() => window.portald.gun.signaler.reconnect());
  await until('the page to be another', () => kiosk.evaluate(() => window.old === undefined).catch(() => false));
  await allLive(kiosk, ['alpha']);
});

const password = { file: '', text: 'sesame' };
withDaemon('with a password that is wrong, or no longer right, the screen says so, once', async (daemon) => {
  const wrong = await openPage(browser, `${daemon.url}?kiosk&token=wrong`);
  const loads = countLoads(wrong);
  await wrong.getByRole('alert').getByText('The token in the address is wrong.').waitFor();

  const kiosk = await openPage(browser, `${daemon.url}?kiosk&token=${password.text}`);
  await allLive(kiosk, ['alpha']);
  const later = countLoads(kiosk);
  writeFileSync(password.file, 'another\n');
  daemon.process.kill('SIGHUP');
  await kiosk.getByRole('alert').getByText('This page is no longer let in').waitFor({ timeout: 60_000 });
  assert.ok(!kiosk.url().includes(password.text), 'nor is the password left in the address, or where it leads after the login');
  assert.ok(!(await kiosk.content()).includes(password.text));
  await keepPicture(kiosk, 'kiosk-password-changed');
  // It stays there: after it has been seen to be quiet nothing is loaded any more.
  await kiosk.waitForLoadState('networkidle');
  assert.deepEqual([loads(), later()], [0, 1]);
  await kiosk.getByLabel('Password or token').fill('another');
  await kiosk.keyboard.press('Enter');
  await kiosk.waitForURL(`${daemon.url}?kiosk=`);
  await allLive(kiosk, ['alpha']);
  // A kiosk still; what makes it one is loaded after the wall.
  await kiosk.locator('#tools').waitFor({ state: 'hidden' });
}, () => {
  password.file = secret(password.text);
  return `[access]\nviewer_password_file = ${JSON.stringify(password.file)}\n${cameraTable('alpha')}`;
});

/** How often a page has been loaded since. */
function countLoads(page) {
  let count = 0;
  page.on('framenavigated', () => count++);
  return () => count;
}

for (const missing of ['portal.js', 'kiosk.js']) {
  withDaemon(`a screen that was switched on when the daemon went away, and got no ${missing}, has all of it later`, async (daemon) => {
    const kiosk = await (await browser.newContext({ viewport: { width: 800, height: 600 } })).newPage();
    kiosk.setDefaultTimeout(LIMIT);
    let asked = 0;
    await kiosk.route(`**/${missing}`, (route) => {
      asked++;
      return route.abort();
    });
    await kiosk.goto(`${daemon.url}?kiosk`);
    await until('a second attempt', async () => asked > 1, () => asked);
    await kiosk.unroute(`**/${missing}`);
    // Not asked from here: it may be loading itself just now.
    await kiosk.waitForFunction(() => 'whole' in document.documentElement.dataset && document.documentElement.classList.contains('kiosk'));
    await allLive(kiosk, ['alpha']);
    const first = await kiosk.evaluate(() => performance.timeOrigin);
    await kiosk.waitForTimeout(7_000);
    assert.equal(await kiosk.evaluate(() => performance.timeOrigin), first, 'a whole page is not loaded again');
  });
}
