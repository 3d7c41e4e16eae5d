/** Still pictures in a page that has nothing but `<img>`. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { cameraTable, Daemon, faultsOf, keepPicture, launchBrowser, MAIN, openPage, until } from './harness.mjs';
import { age, crc8, decodeStrip, readLuma } from './strip.mjs';

test('an <img> of a stream moves, is fresh and of the right camera; one of a snapshot loads', async () => {
  const browser = await launchBrowser();
  const daemon = await Daemon.start(cameraTable('alpha'));
  try {
    // Any page of the daemon's own origin: only its pictures may be looked into.
    const page = await openPage(browser, `${daemon.url}?room=empty`);
    const image = await page.evaluateHandle(async () => {
      const element = new Image();
      for (const side of ['Width', 'Height']) {
        Object.defineProperty(element, `video${side}`, { get: () => element[`natural${side}`] });
      }
      element.src = 'cameras/alpha/stream.mjpeg?fps=10';
      document.body.prepend(element);
      return element;
    });
    const seen = new Map();
    let freshest = Infinity;
    await until('five different pictures, and one that is fresh', async () => {
      if (!await image.evaluate((element) => element.naturalWidth > 0)) return false;
      const { luma, width, height, at } = await image.evaluate(readLuma, MAIN.width);
      const strip = decodeStrip(luma);
      if (strip.identity !== crc8('alpha')) return false; // half a picture, if at all
      assert.deepEqual({ width, height }, MAIN);
      seen.set(strip.counter, strip);
      freshest = Math.min(freshest, age(strip, at));
      // A busy machine is late with some; a stream that lags behind has no fresh one at all.
      return seen.size >= 5 && freshest < 1_000;
    }, () => ({ freshest, seen: [...seen.values()] }));
    console.log(`freshest picture of the stream: ${freshest} ms old`);
    await keepPicture(page, 'mjpeg');

    const size = await page.evaluate(async () => {
      const element = new Image();
      element.src = 'cameras/alpha/snapshot.jpg?width=320';
      await element.decode();
      return [element.naturalWidth, element.naturalHeight];
    });
    assert.deepEqual(size, [320, 180]);
    assert.equal((await daemon.viewers()).alpha > 0, true);
    await image.evaluate((element) => { element.remove(); element.src = ''; });
    await until('the camera to sleep', async () => (await daemon.get('api/cameras'))[0].state === 'idle');
    assert.deepEqual(faultsOf(page), []);
  } finally {
    await browser.close();
    await daemon.stop();
  }
});
