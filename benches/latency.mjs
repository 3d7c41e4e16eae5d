/**
 * Opens one camera of the wall in Chromium and writes, as JSON, how old each picture was when it was displayed.
 * Usage: `node latency.mjs URL CAMERA FRAMES`.
 */
import { age, crc8, decodeStrip } from '../tests/browser/strip.mjs';
import { withBrowser } from './browser.mjs';

/** Pictures of the first seconds are not counted: the browser's clock and jitter estimates settle (ms). */
const WARM_UP = 3_000;

const [url, camera, frames] = process.argv.slice(2);

await withBrowser(async (browser) => {
  // Wide enough that the page asks for the full rendition.
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  await page.goto(url);
  await page.waitForFunction((id) => window.portald?.tiles.get(id)?.video.videoWidth >= 1280, `!${camera}`);
  await page.waitForTimeout(WARM_UP);
  return summary(await page.evaluate(watch, { id: `!${camera}`, frames: Number(frames) }));
});

/**
 * Runs in the page: looks at the strip of the next `frames` pictures as they are displayed.
 * @param {{ id: string, frames: number }} wanted
 */
function watch({ id, frames }) {
  const { video } = window.portald.tiles.get(id);
  const canvas = Object.assign(document.createElement('canvas'), { width: 512, height: 16 });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const pictures = [];
  return new Promise((resolve) => {
    const onFrame = (_, { presentedFrames, receiveTime }) => {
      // Before anything else: what follows takes time of its own.
      const at = performance.timeOrigin + performance.now();
      const clocks = performance.timeOrigin - Date.now() + performance.now();
      context.drawImage(video, 0, 0, 512, 16, 0, 0, 512, 16);
      const { data } = context.getImageData(0, 8, 512, 1);
      const luma = Array.from({ length: 32 }, (_, bit) => data[4 * (16 * bit + 8) + 1]);
      pictures.push({ luma, at, clocks, presentedFrames, received: receiveTime && performance.timeOrigin + receiveTime });
      if (pictures.length < frames) video.requestVideoFrameCallback(onFrame);
      else resolve({ pictures, width: video.videoWidth, height: video.videoHeight });
    };
    video.requestVideoFrameCallback(onFrame);
  });
}

/** @param {Awaited<ReturnType<typeof watch>>} seen */
function summary({ pictures, width, height }) {
  // The page's clock is monotonic and may have run away from the system's, which the stamps are of. Half a millisecond
  // is what Date.now() cuts off.
  const ahead = median(pictures.map(({ clocks }) => clocks)) - 0.5;
  const read = pictures.map((picture) => ({ ...picture, ...decodeStrip(picture.luma) }));
  const good = read.filter(({ identity }) => identity === crc8(camera));
  const olds = good.map((picture) => age(picture, picture.at - ahead));
  const received = good.filter(({ received }) => received).map((picture) => age(picture, picture.received - ahead));
  const first = pictures[0].presentedFrames;
  const last = pictures[pictures.length - 1].presentedFrames;
  return {
    width, height,
    misread: read.length - good.length,
    // Pictures that were displayed without the page being told.
    unseen: last - first + 1 - pictures.length,
    display: olds,
    received,
    shown_after: good.filter(({ received }) => received).map(({ at, received }) => at - received),
  };
}

/** @param {number[]} values */
function median(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}
