/** What `make soak-wall` makes of what it sees; that runs by the clock and is no test itself. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { drawing, promises, table } from './soak-report.mjs';

const NAMES = ['one', 'two'];

/**
 * Half an hour, looked at each ten seconds, in which nothing happens but what `change` makes of a sample.
 * @param {(sample: import('./soak-report.mjs').Sample) => void} [change]
 */
function soak(change = () => {}) {
  const samples = Array.from({ length: 180 }, (_, index) => {
    const tiles = Object.fromEntries(NAMES.map((name) => [name, { phases: [], latency: [80, 90, 100], gap: 300, still: false }]));
    const sample = {
      at: (index + 1) * 10, tiles, late: 2, heap: 4, nodes: 300, listeners: 60, renderer: 150, load: 1,
      daemon: { memory: 90, threads: 120, descriptors: 150 },
    };
    change(sample);
    return sample;
  });
  return { minutes: 30, warmUp: 120, machine: {}, samples, visits: 30, faults: [] };
}

const missed = (of) => promises(of).filter(({ met }) => !met).map(({ row }) => row);

test('a soak in which nothing happens keeps every promise', () => {
  assert.deepEqual(missed(soak()), []);
  assert.match(table(soak()), /tiles that stood still +\| none, longest gap 0\.3 s/);
});

test('a tile that stood still is named, with when and for how long, also when the page did not notice', () => {
  const unnoticed = soak((sample) => { if (sample.at === 600) sample.tiles.two.gap = 2_400; });
  assert.deepEqual(missed(unnoticed), ['tiles that stood still']);
  assert.match(table(unnoticed), /1: two at 10:00 for 2\.4 s/);
  assert.deepEqual(missed(soak((sample) => { if (sample.at === 600) sample.tiles.one.phases = ['frozen']; })), ['tiles that stood still']);
  assert.deepEqual(missed(soak((sample) => { if (sample.at === 600) sample.tiles.one.still = true; })), ['tiles that stood still']);
});

test('what happens while the browser warms up counts for nothing', () => {
  assert.deepEqual(missed(soak((sample) => {
    if (sample.at > 120) return;
    Object.assign(sample.tiles.one, { phases: ['waiting'], gap: 9_000, latency: [900] });
    Object.assign(sample, { heap: 1, renderer: 1 });
  })), []);
});

test('memory that grows by more than a fifth is a promise missed, and a moment of more is not', () => {
  const growing = (key, by) => soak((sample) => { sample[key] *= 1 + (by * sample.at) / 1_800; });
  assert.deepEqual(missed(growing('heap', 0.5)), ["page's heap"]);
  assert.deepEqual(missed(growing('heap', 0.2)), []);
  assert.deepEqual(missed(growing('renderer', 0.5)), ["renderer's memory"]);
  assert.deepEqual(missed(growing('nodes', 0.5)), ["page's elements"]);
  assert.deepEqual(missed(growing('listeners', 0.5)), ["page's listeners"]);
  assert.deepEqual(missed(soak((sample) => { if (sample.at > 1_700) sample.heap *= sample.at % 60 ? 1 : 3; })), []);
});

test('one tile whose latency drifts misses the promise, a disturbance of some pictures does not', () => {
  const late = (name, by, each) => soak((sample) => {
    if (sample.at > 900) sample.tiles[name].latency = sample.tiles[name].latency.map((value, index) => (index % each ? value : value + by));
  });
  assert.deepEqual(missed(late('two', 25, 1)), ['latency drift, worst tile']);
  assert.deepEqual(missed(late('two', 15, 1)), []);
  assert.deepEqual(missed(late('two', 500, 3)), []);
  const silent = soak((sample) => { if (sample.at > 900) sample.tiles.two.latency = []; });
  assert.deepEqual(missed(silent), ['latency drift, worst tile'], 'what was not measured is not met');
});

test('what the daemon keeps of guests that left is a promise missed', () => {
  const leaking = soak((sample) => {
    sample.daemon.threads += Math.floor(sample.at / 60);
    // Guests, who are there half of the time.
    if (sample.at % 60 < 30) sample.daemon.descriptors += 9;
  });
  assert.deepEqual(missed(leaking), ["daemon's threads, at the least"]);
});

test('a soak that ended early, or whose page failed, met nothing of it', () => {
  assert.deepEqual(missed({ ...soak(), minutes: 480 }), ['watched']);
  assert.deepEqual(missed({ ...soak(), faults: ['the page crashed'] }), ['faults of the page']);
  const nothing = { ...soak(), samples: [] };
  assert.ok(promises(nothing).every(({ row, met }) => !met || row === 'faults of the page'), table(nothing));
});

test('the picture has a line for everything, and no number that is none', () => {
  for (const one of [soak(), { ...soak(), samples: [] }]) {
    const svg = drawing(one, 'a <machine> & more');
    assert.match(svg, /a &lt;machine> &amp; more/);
    assert.doesNotMatch(svg, /NaN|Infinity|undefined/);
  }
});
