/** What the wall's tiles get: small pictures in small tiles, the full one where somebody clicks. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { allLive, cameraTable, Daemon, faultsOf, keepPicture, launchBrowser, LIMIT, openPage, tilesOf, until } from './harness.mjs';

/** Twelve cameras, small and slow so that two processors make and show them all. */
const NAMES = Array.from({ length: 12 }, (_, index) => `c${String(index).padStart(2, '0')}`);
const [MAIN, SUB] = [640, 320];
const table = (name) => cameraTable(name, { width: MAIN, height: 360, framerate: 10, bitrate: 400 })
  .replace(/(\.sub\]\nwidth = )\d+/, `$1${SUB}`);
/** Clicked one after the other. */
const CLICKS = 5;
/** What is promised (ms), and what a machine that does other things besides is granted. */
const [PROMISED, GRANTED] = [400, 4_000];

test('a wall of twelve gets the small pictures on every tile, and a click a full one', async () => {
  const browser = await launchBrowser();
  const daemon = await Daemon.start(NAMES.map(table).join(''));
  try {
    const wall = await openPage(browser, daemon.url, { width: 1280, height: 760 });
    await allLive(wall, NAMES);
    const widths = async () => Object.values(await tilesOf(wall)).map(({ width }) => width);
    await until('small pictures everywhere', async () => (await widths()).every((width) => width === SUB), widths);
    const mains = () => daemon.get('api/cameras').then((cameras) => cameras.flatMap(({ name, renditions }) =>
      renditions.filter((rendition) => rendition.name === 'main' && rendition.running).map(() => name)));
    assert.deepEqual(await mains(), [], 'nothing full is encoded for small tiles');

    const times = [];
    for (const name of NAMES.slice(0, CLICKS)) {
      times.push(await wall.evaluate(clickAndWait, [`!${name}`, MAIN, LIMIT]));
      if (times.length === 1) {
        await keepPicture(wall, 'one-of-twelve');
        // What the click asked for stays, because the tile is large.
        await sleep(6_000);
        assert.equal((await tilesOf(wall))[name].width, MAIN);
      }
      await wall.keyboard.press('Escape');
      await until('small pictures again', async () => (await widths()).every((width) => width === SUB), widths);
    }
    times.sort((a, b) => a - b);
    console.log(`click to full picture: ${times.map(Math.round).join(', ')} ms; promised are ${PROMISED}`);
    assert.ok(times[Math.floor(times.length / 2)] < GRANTED, `${times}`);

    // Alone in the window it is not small.
    const one = await openPage(browser, `${daemon.url}?camera=${NAMES[0]}`, { width: 1000, height: 700 });
    await until('the full picture', async () => (await tilesOf(one))[NAMES[0]]?.width === MAIN);
    assert.deepEqual([...faultsOf(wall), ...faultsOf(one)], []);
  } finally {
    await browser.close();
    await daemon.stop();
  }
});

/** Runs in the page: clicks on a tile, and returns the milliseconds until a picture `width` wide was shown. */
function clickAndWait([id, width, limit]) {
  const { video, button } = window.portald.tiles.get(id);
  const begun = performance.now();
  button.click();
  return new Promise((resolve, reject) => {
    const { stats } = window.portald.tiles.get(id);
    setTimeout(() => {
      const now = window.portald.tiles.get(id).stats;
      reject(new Error(`no picture ${width} wide after the click on ${id}; ${JSON.stringify({ before: stats, now })}`));
    }, limit);
    const look = (now, frame) => {
      if (frame.width === width) resolve(performance.now() - begun);
      else video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
  });
}
