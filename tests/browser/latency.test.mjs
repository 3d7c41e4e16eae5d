/** When a picture was taken: the camera says it in its packets, and the page knows how old what it shows is. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { allLive, CAMERAS, Daemon, faultsOf, launchBrowser, MAIN, openPage, tilesOf, until } from './harness.mjs';
import { age, crc8, decodeStrip, readLuma } from './strip.mjs';

/** Pictures that are looked at. */
const PICTURES = 30;
/** A test camera paints its stamp a moment after the time that its picture is of; later on a busy machine (ms). */
const PAINTED = 1_000;
/** What the page's clocks may be apart: Date.now() is cut to whole milliseconds, others are monotonic (ms). */
const CLOCKS = 20;

test('the page knows when each picture was taken, and how long ago that is when it is shown', async () => {
  const browser = await launchBrowser();
  const daemon = await Daemon.start();
  try {
    const wall = await openPage(browser, daemon.url);
    await allLive(wall);
    const known = await until('the latency of every camera', async () => {
      const tiles = await tilesOf(wall);
      return CAMERAS.every((name) => tiles[name].latency !== null) && tiles;
    }, () => tilesOf(wall));
    for (const { name, latency } of Object.values(known)) assert.ok(latency > -CLOCKS && latency < 60_000, `${name}: ${latency}`);

    await wall.evaluate(`window.readLuma = ${readLuma}`);
    const pictures = await wall.evaluate(look, { id: '!alpha', count: PICTURES, width: MAIN.width });
    const read = pictures.map(({ luma, ...picture }) => ({ ...picture, ...decodeStrip(luma) }))
      .filter(({ identity }) => identity === crc8('alpha'));
    assert.ok(read.length >= PICTURES / 2, `${read.length} of ${PICTURES} strips were read`);
    // Painted after it was taken, so never less; a smallest one, because others may have waited for a processor.
    const painted = read.map((picture) => (age(picture, picture.taken) > 32_768 ? 65_536 : 0) - age(picture, picture.taken));
    const [first, last] = [Math.min(...painted), Math.max(...painted)];
    console.log(`painted ${first.toFixed(1)} to ${last.toFixed(1)} ms after the time that the packets say`);
    assert.ok(first > -CLOCKS && first < PAINTED, `${painted}`);
    // The tile measures a picture now and then, and comes to the same.
    const ages = read.map((picture) => age(picture, picture.at));
    const [least, most] = [Math.min(...ages) - CLOCKS, Math.max(...ages) + CLOCKS];
    const agrees = async () => {
      const { latency } = (await tilesOf(wall)).alpha;
      return latency > least && latency < most && latency;
    };
    const latency = await until(`a latency of ${least} to ${most} ms`, agrees, () => tilesOf(wall));
    console.log(`the tile says ${latency.toFixed(1)} ms; by their stamps pictures were ${ages} ms old`);
    assert.deepEqual(faultsOf(wall), []);
  } finally {
    await browser.close();
    await daemon.stop();
  }
});

/** Runs in the page: looks at the next pictures whose packets say when they were taken. */
function look({ id, count, width }) {
  const { video, portal } = window.portald.tiles.get(id);
  const [receiver] = portal.peer.getReceivers();
  const pictures = [];
  return new Promise((resolve) => {
    const onFrame = (_, { rtpTimestamp }) => {
      const source = receiver.getSynchronizationSources().find((one) => one.rtpTimestamp === rtpTimestamp);
      // Milliseconds since 1900, which is what NTP counts from.
      const taken = source?.captureTimestamp && source.captureTimestamp - 2_208_988_800_000;
      if (taken) pictures.push({ taken, ...window.readLuma(video, width) });
      if (pictures.length < count) video.requestVideoFrameCallback(onFrame);
      else resolve(pictures);
    };
    video.requestVideoFrameCallback(onFrame);
  });
}
