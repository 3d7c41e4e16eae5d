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
    const lookAt = async () => {
      const { pictures, latencies } = await wall.evaluate(look, { id: '!alpha', count: PICTURES, width: MAIN.width });
      const read = pictures.map(({ luma, ...picture }) => ({ ...picture, ...decodeStrip(luma) }))
        .filter(({ identity }) => identity === crc8('alpha'));
      return { read, latencies };
    };
    const { read } = await lookAt();
    assert.ok(read.length >= PICTURES / 2, `${read.length} of ${PICTURES} strips were read`);
    // Painted after it was taken, so never less; a smallest one, because others may have waited for a processor.
    const painted = read.map((picture) => (age(picture, picture.taken) > 32_768 ? 65_536 : 0) - age(picture, picture.taken));
    const [first, last] = [Math.min(...painted), Math.max(...painted)];
    console.log(`painted ${first.toFixed(1)} to ${last.toFixed(1)} ms after the time that the packets say`);
    assert.ok(first > -CLOCKS && first < PAINTED, `${painted}`);
    // The tile measures a picture now and then, and comes to the same; of the same time, for a busy machine shows pictures
    // sooner when it is no longer busy. A stamp makes a picture younger than its packets do, by the time until it was painted.
    let ages, latencies;
    const latency = await until('the tile to say what the pictures say', async () => {
      const looked = await lookAt();
      ages = looked.read.map((picture) => age(picture, picture.shown));
      latencies = looked.latencies;
      const [least, most] = [Math.min(...ages) - CLOCKS, Math.max(...looked.read.map(({ at, taken }) => at - taken)) + CLOCKS];
      return latencies.find((one) => one > least && one < most);
    }, () => ({ ages, latencies }));
    console.log(`the tile says ${latency.toFixed(1)} ms; by their stamps pictures were ${ages} ms old`);
    assert.deepEqual(faultsOf(wall), []);
  } finally {
    await browser.close();
    await daemon.stop();
  }
});

/** Runs in the page: looks at the next pictures whose packets say when they were taken, and at what the tile measures meanwhile. */
function look({ id, count, width }) {
  const tile = window.portald.tiles.get(id);
  const { video, portal } = tile;
  const [receiver] = portal.peer.getReceivers();
  const pictures = [];
  const latencies = [];
  const before = tile.latency;
  return new Promise((resolve) => {
    const onFrame = (_, { rtpTimestamp }) => {
      const shown = Date.now();
      if (tile.latency !== before && tile.latency !== latencies.at(-1)) latencies.push(tile.latency);
      const source = receiver.getSynchronizationSources().find((one) => one.rtpTimestamp === rtpTimestamp);
      // Milliseconds since 1900, which is what NTP counts from.
      const taken = source?.captureTimestamp && source.captureTimestamp - 2_208_988_800_000;
      if (taken) pictures.push({ taken, shown, ...window.readLuma(video, width) });
      if (pictures.length < count) video.requestVideoFrameCallback(onFrame);
      else resolve({ pictures, latencies });
    };
    video.requestVideoFrameCallback(onFrame);
  });
}
