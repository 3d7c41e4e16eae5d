/** The wall under fingers, as on a tablet, and for people whom motion disturbs. */
import assert from 'node:assert/strict';
import test, { after, afterEach, before } from 'node:test';
import { allLive, CAMERAS, Daemon, faultsOf, launchBrowser, openPage, until } from './harness.mjs';

const TABLET = { width: 800, height: 600 };

let browser;
let daemon;
before(async () => {
  browser = await launchBrowser();
  daemon = await Daemon.start();
});
after(async () => {
  await browser?.close();
  await daemon?.stop();
});
afterEach(() => Promise.all(browser.contexts().map((context) => context.close())));

/** A wall that fingers can touch. */
async function tablet() {
  const wall = await openPage(browser, daemon.url, TABLET, { hasTouch: true, isMobile: true });
  await allLive(wall);
  return wall;
}

const large = (wall) => wall.evaluate(() => window.portald.wall.large?.name);
const transform = (wall) => wall.evaluate(() => window.portald.wall.large?.video.style.transform);

test('a tap shows one camera large and another tap all; a double tap does no more than one', async () => {
  const wall = await tablet();
  const tile = (name) => wall.locator(`.tile:has-text("Camera ${name}") .open`);
  await tile('bravo').tap();
  await until('the large picture', async () => (await large(wall)) === 'bravo', () => large(wall));
  await wall.waitForTimeout(500); // Longer than a double tap.
  await tile('bravo').tap();
  await until('the wall', async () => (await large(wall)) === undefined, () => large(wall));
  await wall.waitForTimeout(500);

  const { x, y, width, height } = await tile('charlie').boundingBox();
  // A slow tablet is still busy with the first when the second comes.
  await wall.evaluate((ms) => {
    addEventListener('click', () => {
      for (const end = performance.now() + ms; performance.now() < end;);
    }, { capture: true, once: true });
  }, 800);
  const touch = await fingers(wall);
  const middle = [x + width / 2, y + height / 2];
  const at = Date.now() / 1000;
  await Promise.all([touch([middle], at), touch([], at + 0.05), touch([middle], at + 0.15), touch([], at + 0.2)]);
  await until('the large picture', async () => (await large(wall)) === 'charlie', () => large(wall));
  await wall.waitForTimeout(1_000);
  assert.equal(await large(wall), 'charlie', 'the second tap of the two did not close it');
  await wall.goBack();
  await until('the wall', async () => (await large(wall)) === undefined, () => large(wall));
  for (const name of CAMERAS) assert.ok(await tile(name).isVisible(), name);
  assert.deepEqual(faultsOf(wall), []);
});

test('two fingers look closer, one moves the picture, and the page itself stays as it is', async () => {
  const wall = await tablet();
  await wall.locator('.tile:has-text("Camera alpha") .open').tap();
  await until('the large picture', async () => (await large(wall)) === 'alpha', () => large(wall));
  const touch = await fingers(wall);
  await until('the zoom', async () => {
    await touch([[380, 300], [420, 300]]);
    for (let step = 1; step <= 8; step++) await touch([[380 - 20 * step, 300], [420 + 20 * step, 300]]);
    await touch([]);
    return (await transform(wall)) !== '';
  }, () => transform(wall));
  const closer = await transform(wall);
  // To close it takes a moment; that it is asked for is seen at once.
  await wall.evaluate(() => { history.back = () => { window.wentBack = true; }; });
  assert.ok(Number(/scale\((\S+)\)/.exec(closer)?.[1]) > 2, closer);
  for (let step = 0; step <= 8; step++) await touch([[400 + 10 * step, 300 + 5 * step]]);
  await touch([]);
  const moved = await transform(wall);
  assert.notEqual(moved, closer);
  assert.equal(/scale\((\S+)\)/.exec(moved)?.[1], /scale\((\S+)\)/.exec(closer)?.[1]);
  assert.equal(await large(wall), 'alpha');
  assert.equal(await wall.evaluate(() => window.wentBack), undefined, 'nothing of this was a tap that closes');
  assert.equal(await wall.evaluate(() => visualViewport.scale), 1, 'the browser did not zoom the page');
  assert.deepEqual(faultsOf(wall), []);
});

test('who wants less motion gets none but a slow sign that something is awaited', async () => {
  const moves = async (wall) => wall.evaluate(() => {
    const seconds = (list) => Math.max(...list.split(',').map((one) => parseFloat(one)));
    return [...document.querySelectorAll('*')].map((element) => ({ element, style: getComputedStyle(element) }))
      .filter(({ style }) => seconds(style.transitionDuration) > 0 && !/^opacity$/.test(style.transitionProperty))
      .map(({ element, style }) => `${element.tagName} ${element.className}: ${style.transitionProperty}`);
  });
  const spin = (wall) => wall.evaluate(() => parseFloat(getComputedStyle(document.querySelector('.spinner')).animationDuration));
  const lively = await openPage(browser, daemon.url);
  await allLive(lively);
  assert.ok((await moves(lively)).length > 0, 'there is something to leave out');
  const calm = await openPage(browser, daemon.url, TABLET, { reducedMotion: 'reduce' });
  await allLive(calm);
  assert.deepEqual(await moves(calm), []);
  assert.ok((await spin(calm)) > (await spin(lively)));
});

/**
 * Puts fingers on the screen, moves those that are there, lifts those that are not named any more.
 * @param {import('playwright-core').Page} page
 * @returns where they are, and when (Unix time in s; now unless said)
 */
async function fingers(page) {
  const session = await page.context().newCDPSession(page);
  let down = 0;
  return async (/** @type {[number, number][]} */ points, /** @type {number | undefined} */ timestamp) => {
    const type = points.length === 0 ? 'touchEnd' : points.length > down ? 'touchStart' : 'touchMove';
    down = points.length;
    await session.send('Input.dispatchTouchEvent', { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })), timestamp });
  };
}
