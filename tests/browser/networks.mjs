/**
 * The wall in broken networks: it says what is true, and heals by itself. net.test.mjs runs this in namespaces; box and
 * desk are machines of their own there, so that addresses, candidates and firewalls are real ones.
 */
import assert from 'node:assert/strict';
import test, { after, afterEach, before } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  allLive, artifacts, CAMERAS, cameraTable, Daemon, faultsOf, keepPicture, launchBrowser, openPage, showsCamera, tilesOf, until,
} from './harness.mjs';
import { ENGINE } from './engines.mjs';
import { allowUdp, blockUdp, Machine, route } from './netns.mjs';
import { followStills, healed, markPage, showStills } from './healing.mjs';

/** The box's networks: where its pictures leave from, and one more that its page comes from. */
const [PICTURES, PAGE] = [2, 3];
/** The desk's. */
const DESK = 1;
// Cheap to make: single pictures are made besides.
const TABLES = CAMERAS.map((name) => cameraTable(name, { source: 'test:ball', framerate: 10 })).join('');

let box, desk, browser, daemon;
before(async () => {
  await route();
  box = await Machine.start('box', PICTURES);
  await box.plug('page0');
  await box.move(PAGE, 'page0');
  desk = await Machine.start('desk', DESK);
  process.env.PORTALD_BIN = box.wrapper(artifacts, process.env.PORTALD_BIN);
  if (ENGINE === 'firefox') process.env.FIREFOX = desk.drivenFirefox(artifacts, process.env.FIREFOX ?? '/usr/bin/firefox-esr');
  else process.env.CHROMIUM = desk.wrapper(artifacts, process.env.CHROMIUM ?? '/usr/bin/chromium');
  browser = await launchBrowser();
  // Pictures take the one cable, page and signalling the other.
  daemon = await Daemon.start(`[ice]\nskip_interfaces = ["page0"]\n${TABLES}`, { host: `10.9.${PAGE}.2` });
});
after(async () => {
  await browser?.close();
  await daemon?.stop();
  box?.process.kill();
  desk?.process.kill();
});
afterEach(async () => {
  await allowUdp().catch(() => {}); // Where a test failed meanwhile.
  await Promise.all(browser.contexts().map((context) => context.close()));
});

test('where UDP is blocked the wall shows single pictures and says so, and becomes live when it is not', async () => {
  await blockUdp();
  const begun = Date.now();
  const wall = await openPage(browser, daemon.url);
  await markPage(wall);
  const stills = followStills(wall);
  await until('a single picture', async () => Object.values(await tilesOf(wall)).some(({ phase }) => phase === 'stills'));
  console.log(`single pictures ${Date.now() - begun} ms after the page was asked for`);
  await showStills(wall, CAMERAS);
  // Waited for, too: of a busy machine any one tile may have no picture that is new enough just now.
  await wall.locator('.tile').first().locator('.open[aria-label*="no WebRTC connection comes up"]').waitFor();
  await keepPicture(wall, 'udp-blocked');
  // Long enough that the page has tried again in vain; the pictures go on meanwhile.
  await sleep(25_000);
  await showStills(wall, CAMERAS);
  assert.ok(Object.values(await tilesOf(wall)).every(({ frames }) => frames === 0), 'nothing passes for a picture that is none');

  await allowUdp();
  await healed(wall, 'UDP is let through');
  for (const name of CAMERAS) await showsCamera(wall, name);
  await stills.end();
  assert.equal(await wall.locator('.tile .still:visible').count(), 0);
  assert.deepEqual(faultsOf(wall), []);
});

test('UDP that is lost for 10 s is told within seconds, and costs no reload', async () => {
  const wall = await openPage(browser, daemon.url);
  await allLive(wall);
  await markPage(wall);
  await blockUdp();
  const cut = Date.now();
  await until('every tile to say that it is not live', async () =>
    Object.values(await tilesOf(wall)).every(({ phase }) => phase !== 'live'), () => tilesOf(wall));
  console.log(`not live any more, and said so, ${Date.now() - cut} ms after the loss; promised are 2500`);
  assert.match(await wall.locator('.tile').first().innerText(), /No new picture for \d+ s|single pictures/);
  await keepPicture(wall, 'udp-lost');
  await sleep(10_000 - (Date.now() - cut));
  await allowUdp();
  await healed(wall, '10 s without UDP');
  for (const name of CAMERAS) await showsCamera(wall, name);
  assert.deepEqual(faultsOf(wall), []);
});

test('UDP that is lost for long comes back as soon', async () => {
  const wall = await openPage(browser, daemon.url);
  await allLive(wall);
  await markPage(wall);
  const stills = followStills(wall);
  await blockUdp();
  await sleep(45_000);
  await allowUdp();
  await healed(wall, '45 s without UDP');
  await stills.end();
});

test('a page that gets another address is live again', async () => {
  const wall = await openPage(browser, daemon.url);
  await allLive(wall);
  await markPage(wall);
  await desk.move(DESK + 100);
  await healed(wall, "the desk's address changed");
  for (const name of CAMERAS) await showsCamera(wall, name);
});

test('a box that gets another address is seen again', async () => {
  const wall = await openPage(browser, daemon.url);
  await allLive(wall);
  await markPage(wall);
  await box.move(PICTURES + 100);
  await healed(wall, "the box's address changed");
  for (const name of CAMERAS) await showsCamera(wall, name);
});
