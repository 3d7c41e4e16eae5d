/** The page /status: what it shows, and what who has the admin token changes there. And a tile's figures beside the daemon's. */
import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { after, afterEach, before } from 'node:test';
import {
  allLive, artifacts, CAMERAS, cameraTable, CODEC, Daemon, ENGINE, faultsOf, hide, keepPicture, launchBrowser, MAIN, openMenu, openPage,
  servePages, until,
} from './harness.mjs';

const ADMIN = 'let me change it';
/** Waits between two looks at what is shown live, longer than the page does (ms). */
const LOOKS = 3_000;

let browser;
let daemon;
before(async () => { browser = await launchBrowser(); });
after(() => browser?.close());
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
  await daemon?.stop();
});

function withAdmin() {
  const file = path.join(mkdtempSync(path.join(artifacts, 'secret-')), 'admin-token');
  writeFileSync(file, `${ADMIN}\n`);
  return `[access]\nadmin_token_file = ${JSON.stringify(file)}\n`;
}

test('without an admin token the status page reads only, and says who watches what and how', async () => {
  daemon = await Daemon.start();
  const status = await openPage(browser, `${daemon.url}status`, { width: 1280, height: 800 });
  await status.getByRole('cell', { name: 'Camera alpha' }).waitFor();
  await status.getByText('Nobody watches.').waitFor();
  await status.getByText('To change cameras here, name an admin_token_file').waitFor();
  assert.equal(await status.locator('button, input').count(), 0);
  assert.ok(await status.getByRole('link', { name: 'Metrics' }).isVisible());

  const wall = await openPage(browser, daemon.url);
  await allLive(wall);
  const rows = () => status.locator('#viewers tr').evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.innerText)));
  const shown = await until('the figures of three viewers', async () => {
    const now = await rows();
    return now.length === CAMERAS.length && now.every(([, , , rate, bits]) => /^[1-9]/.test(rate) && /^[1-9]/.test(bits)) && now;
  }, rows);
  assert.deepEqual(shown.map(([name, viewer, gets]) => [name, viewer, gets]), CAMERAS.map((name) => [name, '1', `sub, ${CODEC}`]));
  await until('the round trips', async () => (await rows()).every((row) => /\sms$/.test(row[6])), rows);
  await until('what the page says', async () => (await rows()).every((row) => /shown, \d+ dropped/.test(row[7])), rows);
  assert.match(await status.locator('#cameras').innerText(), new RegExp(`sub: 480 × 270, .*${CODEC} by \\w+, 1 watch`));
  const tried = status.locator('#encoders tr', { hasText: CODEC }).filter({ hasText: /works.*480\s×\s270/s });
  await tried.first().waitFor();
  const trials = await daemon.get('api/encoders');
  assert.ok(trials.some(({ codec, width, works, at }) => codec.toUpperCase() === CODEC && width === 480 && works && at <= Date.now()), JSON.stringify(trials));
  await keepPicture(status, 'status-1280');

  await wall.close();
  await until('nobody', async () => (await rows()).length === 0, rows);
  assert.deepEqual(faultsOf(status), []);
});

test('with the admin token a camera is switched off and on and given other bit rates; faults are told', async () => {
  daemon = await Daemon.start(CAMERAS.map((name) => cameraTable(name)).join('') + withAdmin());
  const camera = async (name) => (await daemon.get('api/cameras')).find((one) => one.name === name);
  const status = await openPage(browser, `${daemon.url}status`, { width: 1280, height: 800 });
  await status.getByRole('cell', { name: 'Camera alpha' }).waitFor();
  await status.getByText('Nobody watches.').waitFor(); // Comes after what could be changed, and with all else.
  assert.equal(await status.locator('button, input').count(), 0, 'who is not logged in reads only');
  assert.ok(await status.getByRole('link', { name: 'Metrics' }).isHidden(), 'which are the admin’s then');
  assert.ok(await status.getByText('Encoders tried out').isHidden(), 'and so is what concerns the whole box');
  await status.getByRole('link', { name: 'Log in to change' }).click();
  await status.getByLabel('Password or token').fill(ADMIN);
  await status.getByLabel('Password or token').press('Enter');
  await status.waitForURL(`${daemon.url}status`);
  const off = status.getByRole('button', { name: 'Switch off Camera alpha' });
  await off.waitFor();
  assert.equal(await status.locator('.controls').count(), CAMERAS.length);
  assert.ok(await status.getByRole('link', { name: 'Metrics' }).isVisible());
  await status.getByText('Encoders tried out').waitFor();

  const wall = await openPage(browser, daemon.url);
  await allLive(wall);
  await off.click();
  await status.getByRole('button', { name: 'Switch on Camera alpha' }).waitFor();
  assert.deepEqual([(await camera('alpha')).state, (await camera('bravo')).state], ['disabled', 'live']);
  await wall.getByRole('button', { name: 'Camera alpha: Switched off' }).waitFor();
  await status.getByRole('button', { name: 'Switch on Camera alpha' }).click();
  await allLive(wall);

  const rate = status.getByLabel('Bit rate of the full picture of Camera bravo, kbit/s');
  const small = status.getByLabel('Bit rate of the small picture of Camera bravo, kbit/s');
  const set = status.getByRole('button', { name: 'Set the bit rates of Camera bravo' });
  assert.equal(await rate.inputValue(), '800');
  await rate.fill('650');
  const before = await status.locator('#viewers').innerText();
  await until('other figures', async () => (await status.locator('#viewers').innerText()) !== before);
  await sleep(LOOKS);
  assert.equal(await rate.inputValue(), '650', 'what is being typed stays');
  await small.fill('200');
  await set.click();
  await status.locator('.controls').nth(1).getByText('Done').waitFor();
  assert.deepEqual([(await camera('bravo')).bitrate, (await camera('bravo')).sub.bitrate], [650, 200]);
  assert.equal((await camera('alpha')).bitrate, 800);

  // The browser knows the range as well; this is for one that does not.
  await rate.evaluate((input) => input.removeAttribute('max'));
  await rate.fill('5000000');
  await set.click();
  await status.locator('.controls').nth(1).getByText('50 to 100000 kbit/s').waitFor();
  assert.equal((await camera('bravo')).bitrate, 650);
  await keepPicture(status, 'status-admin-1280');
  await status.setViewportSize({ width: 360, height: 740 });
  assert.ok(await status.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'it fits a phone');
  await status.screenshot({ path: path.join(artifacts, 'status-admin-360.png'), fullPage: true });

  // It asks no more by itself, and so does not know.
  await hide(status, true);
  await status.context().clearCookies();
  await status.getByRole('button', { name: 'Switch off Camera charlie' }).click();
  await status.locator('.controls').getByText('The login as admin has ended').waitFor();
  assert.equal((await camera('charlie')).enabled, true);
  await hide(status, false);
  await status.locator('#hint').getByText('The login as admin has ended').waitFor();
  await until('what only an admin sees to go', async () => await status.locator('button, input').count() === 0);
  assert.ok(await status.getByText('Encoders tried out').isHidden());
  assert.ok(await status.getByRole('link', { name: 'Log in to change' }).isVisible());
  assert.equal(new URL(status.url()).pathname, '/status', 'which anybody may read');
  assert.deepEqual(faultsOf(status), []);
});

test('a page of another origin changes nothing with the cookie of an admin', async () => {
  daemon = await Daemon.start(cameraTable('alpha') + withAdmin());
  const pages = await servePages();
  try {
    const page = await openPage(browser, `${daemon.url}login?next=/status`);
    await page.getByLabel('Password or token').fill(ADMIN);
    await page.getByLabel('Password or token').press('Enter');
    await page.getByRole('button', { name: 'Switch off Camera alpha' }).waitFor();
    const change = (at) => page.evaluate((at) => fetch(at, {
      method: 'PATCH', credentials: 'include', headers: { 'content-type': 'application/json' }, body: '{"enabled":false}',
    }).then(({ status }) => status, String), at);
    // With the cookie of this browser, from a page of its own.
    await page.goto(`${pages.url}member.html`);
    assert.notEqual(await change(`${daemon.url}api/cameras/alpha`), 200);
    assert.equal((await daemon.get('api/cameras'))[0].enabled, true);
    await page.goto(`${daemon.url}status`);
    assert.equal(await change('api/cameras/alpha'), 200, 'our own page may');
  } finally {
    pages.close();
  }
});

test('the figures in the menu of a tile are those that the daemon has', async () => {
  daemon = await Daemon.start(cameraTable('alpha'));
  const wall = await openPage(browser, daemon.url);
  await allLive(wall, ['alpha']);
  await openMenu(wall, 'Camera alpha');
  await wall.locator('.menu').getByText('Statistics', { exact: true }).click();
  const figures = async () => {
    const texts = await wall.locator('.statistics > *').allTextContents();
    return Object.fromEntries(texts.flatMap((text, index) => (index % 2 ? [[texts[index - 1], text]] : [])));
  };
  // Firefox tells no page when a picture was taken.
  const known = ([key, text]) => text !== '–' || (key === 'Latency' && ENGINE === 'firefox');
  const whole = (all) => Object.keys(all).length > 0 && Object.entries(all).every(known);
  await until('figures', async () => whole(await figures()), figures);
  const viewer = async () => (await daemon.get('api/viewers'))[0];
  const counted = () => wall.evaluate(async () => {
    const stats = [...(await window.portald.gun.portals.get('!alpha').peer.getStats()).values()];
    const video = stats.find(({ type, kind }) => type === 'inbound-rtp' && kind === 'video');
    return { frames: video.framesReceived, bytes: video.bytesReceived, at: performance.now() };
  });
  const [sent, received, shown] = [await viewer(), await counted(), []];
  await until('ten looks at the menu', async () => {
    const one = await figures();
    // Where a busy machine is late with a picture there is no latency, and no mean with it.
    if (whole(one) && JSON.stringify(one) !== JSON.stringify(shown.at(-1))) shown.push(one);
    return shown.length > 10;
  }, () => shown);
  const [now, later] = [await viewer(), await counted()];
  const seconds = (later.at - received.at) / 1_000;
  const mean = (key) => shown.reduce((sum, one) => sum + parseFloat(one[key]), 0) / shown.length;
  /** Neither twice as much nor half of it: the looks are not at the same moments, and the page counts also what RTP adds. */
  const agree = (what, page, box) => {
    console.log(`${what}: the page says ${page.toFixed(1)}, the daemon ${box.toFixed(1)}`);
    assert.ok(page > box / 2 && page < box * 2, `${what}: ${page} on the page, ${box} in the daemon`);
  };
  agree('pictures a second', mean('Rate'), (now.frames - sent.frames) / seconds);
  agree('kbit/s', mean('Bitrate'), ((now.bytes - sent.bytes) * 8) / 1_000 / seconds);

  // Alone on the wall it is large.
  const main = (await daemon.get('api/cameras'))[0].renditions.find(({ name }) => name === 'main');
  const last = shown.at(-1);
  assert.equal(last.Size, `${main.width} × ${main.height}`);
  assert.deepEqual([main.width, main.height], [MAIN.width, MAIN.height]);
  // The decoder's name is told to pages with a camera of their own only.
  assert.equal(last.Codec.split(', ')[0], main.codec);
  assert.equal(last.Encoder, main.encoder);
  // Loopback loses nothing, but a busy machine's buffers may be full for a moment.
  assert.ok(mean('Lost') >= 0 && mean('Lost') < 50, String(mean('Lost')));
  const metrics = await (await fetch(new URL('metrics', daemon.url))).text();
  const trip = 1_000 * Number(/^portald_viewer_round_trip_seconds\{[^}]*\} (\S+)$/m.exec(metrics)?.[1]);
  console.log(`round trip: the page says ${last['Round trip']}, the daemon ${trip} ms; latency ${last.Latency}`);
  assert.ok(mean('Round trip') >= 0 && mean('Round trip') < 5_000 && trip >= 0 && trip < 5_000);
  // From capture to screen: no less than a way there, give or take two clocks.
  if (ENGINE === 'firefox') return assert.deepEqual(faultsOf(wall), []);
  assert.ok(mean('Latency') > -20 && mean('Latency') < 60_000, String(mean('Latency')));
  assert.ok(mean('Latency') + 20 >= mean('Round trip') / 2, 'what is shown was on its way');
  assert.deepEqual(faultsOf(wall), []);
});
