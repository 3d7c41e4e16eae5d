/**
 * What a soak's samples come to: the promises, as rows of a table and as a picture. Nothing is measured here.
 * @module
 */

/** No tile may go so long (ms) without a new picture. */
const STILL = 2_000;
/** What page and renderer may have grown by, in percent. */
const GROWTH = 20;
/** What the latency may have drifted by (ms). */
const DRIFT = 20;
/** What the daemon may hold more than before when no guest is there: threads, descriptors. One viewer has 7 and 9. */
const KEPT = 6;
/** Longest that beginning and end, which are compared, may be (s): longer than what disturbs them for a moment. */
const SPAN = 300;

/**
 * @typedef {{ memory: number, threads: number, descriptors: number }} Usage `memory` in MB
 * @typedef {{ phases: string[], latency: number[], gap: number, still: boolean }} Seen of a tile since it was last looked
 *   at: phases but `live`; ms from capture to screen; longest time (ms) between two pictures; no new picture at all
 * @typedef {{ at: number, tiles: Record<string, Seen>, late: number, heap: number, nodes: number, listeners: number,
 *   renderer: number, daemon: Usage, load: number }} Sample `at` in s; `late`: how long (ms) the page itself stood still;
 *   `heap` (after its garbage was collected) and `renderer` in MB
 * @typedef {{ minutes: number, warmUp: number, machine: Record<string, unknown>, samples: Sample[], visits: number,
 *   faults: string[] }} Soak
 * @typedef {{ row: string, measured: string, goal: string, met: boolean }} Row
 */

/** @param {number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length ? (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2 : NaN;
}

/**
 * The least undisturbed ones: of ten values the second smallest. A lasting delay is in these as well, and what else the
 * machine did is not.
 * @param {number[]} values
 */
function best(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 10)] ?? NaN;
}

/**
 * @param {Sample[]} samples
 * @param {string} [name] of one tile; else of all
 * @returns {number[]}
 */
function latencies(samples, name) {
  return samples.flatMap(({ tiles }) => Object.entries(tiles).flatMap(([of, { latency }]) => (name && of !== name ? [] : latency)));
}

/**
 * What some samples say together.
 * @param {Sample[]} samples
 */
export function judged(samples) {
  const seen = samples.flatMap(({ tiles }) => Object.values(tiles));
  return { latency: median(latencies(samples)), gap: Math.max(0, ...seen.map(({ gap }) => gap)) };
}

/**
 * The beginning after warming up, and the end, of the same length.
 * @param {Soak} soak
 * @returns {[Sample[], Sample[]]}
 */
function ends({ samples, warmUp }) {
  const last = samples.at(-1)?.at ?? 0;
  const span = Math.min(SPAN, (last - warmUp) / 2);
  const between = (/** @type {number} */ from, /** @type {number} */ to) => samples.filter(({ at }) => at > from && at <= to);
  return [between(warmUp, warmUp + span), between(last - span, last)];
}

/**
 * Each promise, and whether it was kept.
 * @param {Soak} soak
 * @returns {Row[]}
 */
export function promises(soak) {
  const { samples, warmUp, minutes, faults, visits } = soak;
  const [first, last] = ends(soak);
  const counted = samples.filter(({ at }) => at > warmUp);
  /** @type {Row[]} */
  const rows = [];
  const add = (/** @type {string} */ row, /** @type {string} */ measured, /** @type {string} */ goal, /** @type {boolean} */ met) =>
    rows.push({ row, measured, goal, met });

  const done = (samples.at(-1)?.at ?? 0) / 60;
  add('watched', `${done.toFixed(1)} min, ${visits} guests`, `${minutes} min`, done >= minutes - 0.5 && first.length > 0 && visits > 0);
  add('faults of the page', faults.length ? faults.join('; ').slice(0, 300) : 'none', 'none', faults.length === 0);

  const frozen = counted.flatMap(({ at, late, tiles }) => Object.entries(tiles).flatMap(([name, { phases, gap, still }]) =>
    (phases.length || still || gap > STILL ? [`${name} at ${clock(at)} for ${(gap / 1000).toFixed(1)} s (${[...phases, late > STILL / 2 && 'the page itself stood still'].filter(Boolean).join(', ')})`] : [])));
  const { gap } = judged(counted);
  add('tiles that stood still', frozen.length ? `${frozen.length}: ${frozen.slice(0, 5).join('; ')}` : `none, longest gap ${(gap / 1000).toFixed(1)} s`,
    `none over ${STILL / 1000} s`, counted.length > 0 && frozen.length === 0);

  const growth = (/** @type {string} */ row, /** @type {string} */ unit, /** @type {(sample: Sample) => number} */ of) => {
    const [before, after] = [median(first.map(of)), median(last.map(of))];
    const percent = (100 * (after - before)) / before;
    const digits = unit && before < 100 ? 2 : 0;
    add(row, `${before.toFixed(digits)} to ${after.toFixed(digits)}${unit}, ${signed(percent, 1)} %`, `+${GROWTH} %`, percent <= GROWTH);
  };
  growth("page's heap", ' MB', ({ heap }) => heap);
  growth("page's elements", '', ({ nodes }) => nodes);
  growth("page's listeners", '', ({ listeners }) => listeners);
  growth("renderer's memory", ' MB', ({ renderer }) => renderer);

  const names = Object.keys(first[0]?.tiles ?? {});
  const drifts = names.map((name) => ({ name, drift: median(latencies(last, name)) - median(latencies(first, name)) }));
  // What was not measured is no number, and met by nothing.
  const worst = drifts.reduce((most, one) => (one.drift <= most.drift ? most : one), { name: 'none', drift: -Infinity });
  const [before, after] = [first, last].map((some) => latencies(some));
  add('latency drift, all tiles', `${signed(median(after) - median(before), 1)} ms (${median(before).toFixed(1)} to ${median(after).toFixed(1)} ms; `
    + `undisturbed ${best(before).toFixed(1)} to ${best(after).toFixed(1)} ms)`, `under ${DRIFT} ms`, median(after) - median(before) < DRIFT);
  add('latency drift, worst tile', `${signed(worst.drift, 1)} ms, ${worst.name}`, `under ${DRIFT} ms`, worst.drift < DRIFT && names.length > 0);

  growth("daemon's memory", ' MB', ({ daemon }) => daemon.memory);
  for (const of of /** @type {const} */ (['threads', 'descriptors'])) {
    const least = (/** @type {Sample[]} */ some) => Math.min(...some.map(({ daemon }) => daemon[of]));
    add(`daemon's ${of}, at the least`, `${least(first)} to ${least(last)}`, `+${KEPT}`, least(last) - least(first) <= KEPT);
  }
  return rows;
}

/**
 * For people.
 * @param {Soak} soak
 */
export function table(soak) {
  const [first, last] = ends(soak).map((some) => median(some.map(({ load }) => load)).toFixed(1));
  const rows = [['promise', 'measured', 'goal', 'verdict'],
    ...promises(soak).map(({ row, measured, goal, met }) => [row, measured, goal, met ? 'met' : 'not met'])];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => row[column].length)));
  const lines = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column])).join(' | ').trimEnd());
  lines.splice(1, 0, widths.map((width) => '-'.repeat(width)).join('-|-'));
  return `${lines.join('\n')}\nload average ${first} while the beginning was measured, ${last} at the end\n`;
}

/** @param {number} value @param {number} digits */
function signed(value, digits) {
  return `${value < 0 ? '' : '+'}${value.toFixed(digits)}`;
}

/** @param {number} at seconds */
function clock(at) {
  return `${Math.floor(at / 60)}:${String(Math.floor(at % 60)).padStart(2, '0')}`;
}

/** Size of the picture and of a plot in it, in SVG units; as the benchmarks draw. */
const PANEL = { width: 380, height: 150 };
const STYLE = 'text{font:13px sans-serif;fill:#222}.small{font-size:11px;fill:#555}.title{font-weight:bold}'
  + '.axis{stroke:#888;fill:none}.data{stroke:#06c;stroke-width:1.5;fill:none}.one{stroke:#06c;stroke-opacity:.35;fill:none}'
  + '.goal{stroke:#c60;stroke-dasharray:6 4;fill:none}';

/**
 * Everything over the time.
 * @param {Soak} soak
 * @param {string} place where it was measured, in a line
 */
export function drawing(soak, place) {
  const { samples } = soak;
  const end = Math.max(60, samples.at(-1)?.at ?? 0);
  const [first] = ends(soak);
  const each = (/** @type {(sample: Sample) => number} */ of) => samples.map((sample) => [sample.at, of(sample)]);
  const level = (/** @type {(sample: Sample) => number} */ of) => median(first.map(of));
  const minutes = Array.from({ length: Math.ceil(end / 60) }, (_, minute) => samples.filter(({ at }) => at > minute * 60 && at <= minute * 60 + 60));
  const byMinute = (/** @type {string} */ [name]) => minutes.map((some, minute) => [minute * 60 + 30, median(latencies(some, name))]);
  const names = Object.keys(samples[0]?.tiles ?? {});
  const grown = (/** @type {(sample: Sample) => number} */ of) => ({ lines: [each(of)], goal: level(of) * (1 + GROWTH / 100) });
  const panels = [
    { title: 'latency of each tile, ms (median of a minute)', lines: names.map((name) => byMinute([name])), goal: median(latencies(first)) + DRIFT },
    { title: 'longest gap between two pictures, ms', lines: [samples.map((sample) => [sample.at, judged([sample]).gap])], goal: STILL },
    { title: "page's heap, MB", ...grown(({ heap }) => heap) },
    { title: "renderer's memory (RSS), MB", ...grown(({ renderer }) => renderer) },
    { title: "daemon's memory (RSS), MB", ...grown(({ daemon }) => daemon.memory) },
    { title: "daemon's threads", lines: [each(({ daemon }) => daemon.threads)] },
    { title: "page's elements", ...grown(({ nodes }) => nodes) },
    { title: 'load average of the machine', lines: [each(({ load }) => load)] },
  ];
  const body = panels.map((panel, index) => plot(panel, end, 60 + (index % 2) * 440, 90 + Math.floor(index / 2) * 220)).join('\n');
  const height = 90 + Math.ceil(panels.length / 2) * 220;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 920 ${height}" width="920" height="${height}"><style>${STYLE}</style>`
    + `<rect width="100%" height="100%" fill="#fff"/>\n${text(40, 30, 'title', `portald: eight tiles in Chromium for ${Math.round(end / 60)} minutes`)}`
    + `${text(40, 48, 'small', place)}\n${body}\n</svg>\n`;
}

/**
 * @param {{ title: string, lines: number[][][], goal?: number }} panel
 * @param {number} end s
 * @param {number} left
 * @param {number} top
 */
function plot({ title, lines, goal }, end, left, top) {
  const known = lines.map((line) => line.filter(([, value]) => Number.isFinite(value)));
  const most = Math.max(1, ...known.flat().map(([, value]) => value), Number.isFinite(goal) ? Number(goal) : 0) * 1.05;
  const bottom = top + PANEL.height;
  const at = ([x, y]) => `${(left + (x / end) * PANEL.width).toFixed(1)},${(bottom - (Math.max(0, y) / most) * PANEL.height).toFixed(1)}`;
  const line = (/** @type {string} */ kind, /** @type {number[][]} */ points) => `<polyline class="${kind}" points="${points.map(at).join(' ')}"/>`;
  const parts = [text(left, top - 8, 'title', title), `<polyline class="axis" points="${left},${top} ${left},${bottom} ${left + PANEL.width},${bottom}"/>`,
    text(left - 34, top + 8, 'small', most < 10 ? most.toFixed(1) : most.toFixed(0)), text(left - 14, bottom, 'small', '0'),
    text(left + PANEL.width - 34, bottom + 14, 'small', `${Math.round(end / 60)} min`)];
  if (Number.isFinite(goal)) parts.push(line('goal', [[0, Number(goal)], [end, Number(goal)]]));
  parts.push(...known.map((points) => line(lines.length > 1 ? 'one' : 'data', points)));
  return parts.join('');
}

function text(x, y, kind, said) {
  return `<text x="${x}" y="${y}" class="${kind}">${String(said).replaceAll('&', '&amp;').replaceAll('<', '&lt;')}</text>`;
}
