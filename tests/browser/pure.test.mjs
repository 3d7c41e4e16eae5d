/** What needs no browser: the layout of the wall, the reading of the strip and of statistics, and how old a picture is. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { bestGrid, commonAspect, gridLine } from '../../web/layout.js';
import { Latency } from '../../web/latency.js';
import { playback } from '../../web/playback.js';
import { age, crc8, decodeStrip } from './strip.mjs';

const WIDE = 16 / 9;

test('the grid fills the stage as well as can be', () => {
  const columns = (count, width, height) => bestGrid(count, width, height, WIDE, 10).columns;
  assert.equal(columns(1, 1280, 740), 1);
  assert.equal(columns(2, 1280, 740), 2);
  assert.equal(columns(2, 360, 680), 1);
  assert.equal(columns(4, 1280, 740), 2);
  assert.equal(columns(12, 1900, 1020), 4);
  assert.equal(columns(12, 348, 690), 2);
});

test('every grid stays within the stage, or scrolls downwards only', () => {
  for (const aspect of [WIDE, 4 / 3, 9 / 16]) {
    for (const [width, height] of [[348, 690], [700, 300], [1260, 744], [1900, 1020], [3820, 2100]]) {
      for (let count = 1; count <= 40; count++) {
        const grid = bestGrid(count, width, height, aspect, 10);
        const rows = Math.ceil(count / grid.columns);
        assert.ok(grid.columns * (grid.tileWidth + 10) - 10 <= width + 0.01, `${count} in ${width}`);
        if (!grid.scrolls) assert.ok(rows * (grid.tileHeight + 10) - 10 <= height + 0.01, `${count} in ${height}`);
        assert.ok(grid.tileWidth >= 145, `${count} tiles of ${grid.tileWidth} px in ${width}×${height}`);
      }
    }
  }
});

test('an incomplete last row is centred, a complete one begins at the left', () => {
  assert.deepEqual([0, 1, 2].map((index) => gridLine(index, 3, 2)), [undefined, undefined, 2]);
  assert.deepEqual([3, 4].map((index) => gridLine(index, 5, 3)), [2, undefined]);
  assert.equal(gridLine(2, 4, 2), undefined);
});

test('one odd camera does not shape the wall', () => {
  assert.equal(commonAspect([WIDE, 9 / 16, WIDE]), WIDE);
  assert.equal(commonAspect([]), WIDE);
});

test('the strip is read as it is painted', () => {
  assert.equal(crc8('123456789'), 0xf4, 'the check value of CRC-8');
  const number = (crc8('alpha') * 2 ** 24 + 200 * 2 ** 16 + 65_530) >>> 0;
  const luma = Array.from({ length: 32 }, (_, bit) => ((number >>> (31 - bit)) & 1 ? 235 : 16));
  const strip = decodeStrip(luma);
  assert.deepEqual(strip, { identity: crc8('alpha'), counter: 200, stamp: 65_530 });
  assert.equal(age(strip, 65_536 * 3 + 4), 10);
});

test('latency is from capture to screen, though the two clocks differ', async () => {
  const unix = performance.timeOrigin + performance.now();
  /** The camera's clock is ten seconds behind ours, a report was on its way for 3 ms, a picture was taken 80 ms ago. */
  const [behind, way, old] = [10_000, 3, 80];
  const report = { type: 'remote-outbound-rtp', timestamp: unix, remoteTimestamp: unix - behind - way };
  const pair = { type: 'candidate-pair', nominated: true, currentRoundTripTime: (2 * way) / 1_000 };
  let told = [];
  const sources = [{ rtpTimestamp: 7, captureTimestamp: unix - behind - old + 2_208_988_800_000 }, { rtpTimestamp: 8 }];
  const latency = new Latency({
    getStats: async () => new Map(told.map((one) => [one.type, one])), getSynchronizationSources: () => sources,
  });
  const shown = async (now, timestamp) => {
    latency.shown(now, timestamp);
    await new Promise(setImmediate);
    return latency.value;
  };
  assert.equal(await shown(0, 7), undefined, 'no report has come');
  told = [report, pair];
  assert.equal(await shown(1_000, 7), undefined, 'one is being looked at');
  assert.equal(await shown(2_000, 6), undefined, 'nothing is known of that picture');
  assert.equal(await shown(2_000, 8), undefined, 'it does not say when it was taken');
  const value = await shown(2_001, 7);
  const since = performance.timeOrigin + performance.now() - unix;
  assert.ok(value >= old && value <= old + since, `${value}`);
  sources[0].captureTimestamp -= 500;
  assert.equal(await shown(2_500, 7), value, 'measured a moment ago');
  assert.ok(await shown(3_100, 7) >= value + 500);
});

test('of the statistics of a connection only the pictures that came are told', () => {
  const video = { type: 'inbound-rtp', kind: 'video', framesDecoded: 30, framesDropped: 2, freezeCount: 1, totalFreezesDuration: 0.25099 };
  const stats = new Map(Object.entries({
    sound: { ...video, kind: 'audio', framesDecoded: 7 }, sent: { ...video, type: 'outbound-rtp', framesDecoded: 7 }, video,
  }));
  assert.deepEqual(playback(stats), { decoded: 30, dropped: 2, freezes: 1, frozen: 0.251 });
  assert.equal(playback(new Map([['video', { ...video, framesDecoded: 0 }]])), undefined);
  const few = playback(new Map([['video', { type: 'inbound-rtp', kind: 'video', framesDecoded: 5 }]]));
  assert.equal(JSON.stringify(few), '{"decoded":5}', 'what a browser does not count is left out');
});
