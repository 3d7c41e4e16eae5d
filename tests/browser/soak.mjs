/**
 * `make soak-wall`: a wall of eight cameras in Chromium for hours, with some life around it. Each ten seconds it is looked
 * at: does every tile move, how old are its pictures, what do page and daemon hold. The results are a table, and
 * `benches/out/soak.json` and `soak.svg`, which are there from the first minute on. It ends with 1 when a promise was missed.
 *
 * `PORTALD_SOAK_MINUTES` (480), `PORTALD_BIN`, `CHROMIUM`. It runs by the clock and so is no test: on a machine that is
 * busy with other things it says more of those, and the load beside each figure tells.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { cameraTable, Daemon, faultsOf, launchBrowser, openPage, tilesOf, until } from './harness.mjs';
import { drawing, judged, promises, table } from './soak-report.mjs';

const MINUTE = 60_000;
/** How often it is looked at (ms). */
const EVERY = 10_000;
/** Browser and daemon settle before anything counts (ms). */
const WARM_UP = 2 * MINUTE;
/** How long a tile is large, and a guest stays, in each minute (ms). */
const LARGE = 8_000;
const GUEST = 25_000;
/** Small and slow, so that eight of them, decoded on one processor, leave it time. */
const NAMES = Array.from({ length: 8 }, (_, index) => `soak-${index + 1}`);
const CAMERAS = NAMES.map((name) =>
  cameraTable(name, { width: 640, height: 360, framerate: 10, bitrate: 400 }).replace(/\[camera\.\S+\.sub\][^]*$/, '')
  + `[camera.${name}.sub]\nwidth = 320\nframerate = 5\nbitrate = 150\n`).join('');
const OUT = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../benches/out');

const minutes = Number(process.env.PORTALD_SOAK_MINUTES ?? 480);
if (!(minutes >= 4)) {
  console.error('PORTALD_SOAK_MINUTES: at least 4, of which two are for settling');
  process.exit(2);
}

/** @type {import('./soak-report.mjs').Soak} */
const soak = { minutes, warmUp: WARM_UP / 1000, machine: {}, samples: [], visits: 0, faults: [] };
const daemon = await Daemon.start(CAMERAS);
const [browser, guests] = [await launchBrowser(), await launchBrowser()];
const ending = new AbortController();
try {
  await run();
} catch (error) {
  soak.faults.push(String(error?.stack ?? error));
} finally {
  ending.abort();
  // What is still under way ends with its browser.
  await Promise.allSettled([browser.close(), guests.close(), daemon.stop()]);
}
write();
const rows = promises(soak);
console.log(`\n${table(soak)}\nbenches/out/soak.json, benches/out/soak.svg`);
process.exit(rows.every(({ met }) => met) ? 0 : 1);

async function run() {
  const wall = await openPage(browser, daemon.url, { width: 1280, height: 800 });
  await until('eight tiles that are live', async () => {
    const tiles = Object.values(await tilesOf(wall));
    return tiles.length === NAMES.length && tiles.every(({ phase }) => phase === 'live');
  }, () => tilesOf(wall));
  soak.machine = await machine();
  console.log(`${place()}\n${minutes} minutes; the first ${WARM_UP / MINUTE} count for nothing`);
  const look = await looker(wall);
  wall.on('crash', () => soak.faults.push('the page crashed'));
  const life = live(wall).catch((error) => ending.signal.aborted || soak.faults.push(`life around the wall: ${error.stack}`));
  const begun = performance.now();
  for (let next = EVERY; next <= minutes * MINUTE && soak.faults.length === 0; next += EVERY) {
    await sleep(begun + next - performance.now());
    soak.samples.push({ at: (performance.now() - begun) / 1000, ...await look() });
    if (next % MINUTE === 0) tell(next / MINUTE);
  }
  soak.faults.push(...faultsOf(wall));
  ending.abort();
  await life;
}

/** @param {number} minute that is over */
function tell(minute) {
  const { heap, renderer, daemon: { memory, threads, descriptors }, load, tiles } = soak.samples.at(-1);
  const last = judged(soak.samples.filter(({ at }) => at > (minute - 1) * 60));
  console.log(`${minute} min: ${Object.values(tiles).filter(({ still }) => !still).length} of ${NAMES.length} move, latency`
    + ` ${last.latency.toFixed(0)} ms, longest gap ${last.gap.toFixed(0)} ms, page ${heap.toFixed(2)} MB, renderer ${renderer.toFixed(0)} MB,`
    + ` daemon ${memory.toFixed(0)} MB ${threads} threads ${descriptors} descriptors, load ${load}`);
  write();
}

function write() {
  mkdirSync(OUT, { recursive: true });
  const { samples, ...rest } = soak;
  const all = { ...rest, rows: promises(soak), samples };
  writeFileSync(path.join(OUT, 'soak.json'), `${JSON.stringify(all)}\n`);
  writeFileSync(path.join(OUT, 'soak.svg'), drawing(soak, place()));
}

/**
 * Each minute a tile is made large and small again, and somebody else looks at one camera for a while.
 * @param {import('playwright-core').Page} wall
 */
async function live(wall) {
  const { signal } = ending;
  // Every encoder runs once before anything counts: what a first one costs is no growth.
  const all = await openPage(guests, daemon.url, { width: 2560, height: 1440 });
  await until('the guest to see all in full size', async () => Object.values(await tilesOf(all)).filter(({ width }) => width === 640).length === NAMES.length,
    () => tilesOf(all));
  await all.context().close();
  for (let minute = 0; ; minute++) {
    const begun = performance.now();
    const name = NAMES[minute % NAMES.length];
    const guest = await openPage(guests, `${daemon.url}?camera=${NAMES[(minute + 3) % NAMES.length]}`);
    await until('the guest to see it', async () => Object.values(await tilesOf(guest)).some(({ phase }) => phase === 'live'));
    await wall.locator(`.tile:has-text("Camera ${name}") .open`).click();
    await sleep(LARGE, undefined, { signal });
    await wall.keyboard.press('Escape');
    await sleep(Math.max(0, begun + GUEST - performance.now()), undefined, { signal });
    await guest.context().close();
    soak.visits++;
    await sleep(Math.max(0, begun + MINUTE - performance.now()), undefined, { signal });
  }
}

/**
 * What looks at everything once.
 * @param {import('playwright-core').Page} wall
 * @returns {Promise<() => Promise<Omit<import('./soak-report.mjs').Sample, 'at'>>>}
 */
async function looker(wall) {
  const session = await wall.context().newCDPSession(wall);
  await session.send('Performance.enable');
  const processes = await browser.newBrowserCDPSession();
  const renderers = (await processes.send('SystemInfo.getProcessInfo')).processInfo.filter(({ type }) => type === 'renderer');
  // There may be a spare one that has done nothing yet; this browser has no other page.
  const { id: renderer } = renderers.sort((a, b) => b.cpuTime - a.cpuTime)[0];
  await wall.evaluate(collect, NAMES);
  return async () => {
    const { late, tiles } = await wall.evaluate(() => window.soak.take());
    await session.send('HeapProfiler.collectGarbage');
    const { metrics } = await session.send('Performance.getMetrics');
    const metric = (wanted) => metrics.find(({ name }) => name === wanted).value;
    return {
      tiles, late, heap: metric('JSHeapUsedSize') / 2 ** 20, nodes: metric('Nodes'), listeners: metric('JSEventListeners'),
      renderer: usage(renderer).memory, daemon: usage(daemon.process.pid), load: Number(os.loadavg()[0].toFixed(2)),
    };
  };
}

/**
 * Runs in the page: looks at every tile four times a second, and hands over what it saw when it is asked.
 * @param {string[]} names
 */
function collect(names) {
  const { tiles, wall } = window.portald;
  const EVERY = 250, MOST = 100;
  let seen = {}, late = 0, before = performance.now();
  const measured = new Map();
  setInterval(() => {
    const now = performance.now();
    late = Math.max(late, now - before - EVERY);
    before = now;
    for (const name of names) {
      const one = seen[name] ??= { phases: [], latency: [] };
      const { phase, stats: { latency } } = tiles.get(`!${name}`) ?? { phase: 'gone', stats: {} };
      if (phase !== 'live' && !one.phases.includes(phase)) one.phases.push(phase);
      if (latency !== measured.get(name) && latency !== null && one.latency.length < MOST) one.latency.push(Math.round(latency * 10) / 10);
      measured.set(name, latency);
    }
  }, EVERY);
  const counts = new Map();
  let wasLarge;
  window.soak = {
    take() {
      const now = performance.now();
      for (const name of names) {
        const tile = tiles.get(`!${name}`);
        const one = seen[name] ??= { phases: [], latency: [] };
        one.gap = Math.round(tile?.longestGap ?? Infinity);
        // Behind a large picture nothing is shown; the page's own word alone would be no proof for the rest.
        one.still = !wall.large && !wasLarge && tile?.frames === counts.get(name);
        if (one.still) one.gap = Math.max(one.gap, Math.round(now - tile?.lastFrameAt));
        counts.set(name, tile?.frames);
        if (tile) tile.longestGap = 0;
      }
      wasLarge = Boolean(wall.large);
      const taken = { late: Math.round(late), tiles: seen };
      [seen, late] = [{}, 0];
      return taken;
    },
  };
}

/**
 * What a process holds: `memory` in MB (RSS).
 * @param {number} pid
 */
function usage(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const number = (key) => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(status)[1]);
  return { memory: number('VmRSS') / 1024, threads: number('Threads'), descriptors: readdirSync(`/proc/${pid}/fd`).length };
}

async function machine() {
  const { version } = await daemon.get('api/version');
  const [main] = (await daemon.get('api/cameras'))[0].renditions;
  const system = /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  return {
    system, kernel: os.release(), cpu: os.cpus()[0].model, cores: os.availableParallelism(),
    memory_mb: Math.round(os.totalmem() / 2 ** 20), portald: version, chromium: browser.version(), node: process.version,
    encoder: main?.encoder, load_before: os.loadavg().map((one) => one.toFixed(2)).join(' '),
  };
}

function place() {
  const { system, kernel, cpu, cores, portald, chromium, encoder, load_before: load } = soak.machine;
  return `portald ${portald} (${encoder}) on ${system}, ${cores} × ${cpu}, Linux ${kernel}, Chromium ${chromium}, load ${load} before`;
}
