/**
 * Clicks on the tiles of a wall and writes, as JSON, how long it took (ms) until a full picture was displayed.
 * Usage: `node switch.mjs URL CLICKS`.
 */
import { withBrowser } from './browser.mjs';

/** Widths of the full pictures and of those in tiles. */
const [MAIN, SUB] = [1280, 640];

const [url, clicks] = process.argv.slice(2);

await withBrowser(async (browser) => {
  const page = await browser.newPage({ viewport: { width: 1000, height: 620 } });
  await page.goto(url);
  const allSmall = () => page.waitForFunction((width) => {
    const tiles = [...(window.portald?.tiles.values() ?? [])];
    return tiles.length === 4 && tiles.every(({ video }) => video.videoWidth === width);
  }, SUB);
  await allSmall();
  const times = [];
  // The first one starts an encoder and a decoder of that size, and counts: so it is for everybody.
  for (let click = 0; click < Number(clicks); click++) {
    times.push(await page.evaluate(clickAndWait, [click % 4, MAIN]));
    await page.keyboard.press('Escape');
    await allSmall();
    await page.waitForTimeout(700);
  }
  return times;
});

/** Runs in the page. */
function clickAndWait([index, width]) {
  const { video, button } = [...window.portald.tiles.values()][index];
  const begun = performance.now();
  button.click();
  return new Promise((resolve) => {
    const look = (_, picture) => {
      if (picture.width === width) resolve(performance.now() - begun);
      else video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
  });
}
