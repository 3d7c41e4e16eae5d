/** How long a wall takes to be live again, and whether it fetches single pictures meanwhile. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { tilesOf, until } from './harness.mjs';

/** What is promised (ms). A test fails only when nothing comes at all, for a busy machine may be late. */
const PROMISED = 5_000;
/** New pictures of each tile that make it live: those that were under way may be shown late. */
const PICTURES = 5;
/** No still may be asked for in so long (ms) once all tiles are live; while they are wanted there is one each second. */
const QUIET = 3_000;

/** Notes on the page that it is this one; {@link healed} sees then that it was not loaded again. */
export function markPage(wall) {
  return wall.evaluate(() => { window.notReloaded = true; });
}

/**
 * Waits until every tile is live and has shown new pictures, and prints how long that took.
 * @param {import('playwright-core').Page} wall
 * @param {string} since what has happened just now
 */
export async function healed(wall, since) {
  const begun = Date.now();
  const before = await tilesOf(wall);
  const tiles = await until(`live tiles after ${since}`, async () => {
    const now = await tilesOf(wall);
    return Object.values(now).every(({ name, phase, frames }) => phase === 'live' && frames >= before[name].frames + PICTURES) && now;
  }, () => tilesOf(wall));
  const connections = Object.values(tiles).map(({ name, connections: count }) => count - before[name].connections);
  console.log(`${since}: live again after ${Date.now() - begun} ms; promised are ${PROMISED}; new connections: ${connections}`);
  assert.equal(await wall.evaluate(() => window.notReloaded), true, 'the page was loaded again');
  return tiles;
}

/**
 * Follows what single pictures a page asks for, from now on.
 * @param {import('playwright-core').Page} wall
 */
export function followStills(wall) {
  const open = new Set();
  const counts = { asked: 0, most: 0 };
  const isStill = (request) => new URL(request.url()).pathname.endsWith('/snapshot.jpg');
  wall.on('request', (request) => {
    if (!isStill(request)) return;
    counts.asked++;
    open.add(request);
    counts.most = Math.max(counts.most, open.size);
  });
  for (const end of ['requestfinished', 'requestfailed']) wall.on(end, (request) => open.delete(request));
  return {
    counts,
    /** Waits until none is asked for any more. */
    end: () => until('no more single pictures to be asked for', async () => {
      const before = counts.asked;
      await sleep(QUIET);
      return counts.asked === before;
    }, () => counts),
  };
}

/**
 * Waits until each tile has shown single pictures that move, and said that they are that. Not all at one time: a busy
 * machine's pictures may be too old now and then, and then the tile is right not to show them.
 * @param {import('playwright-core').Page} wall
 * @param {string[]} names
 */
export async function showStills(wall, names) {
  const seen = new Map(names.map((name) => [name, new Set()]));
  const said = () => Object.fromEntries([...seen].map(([name, { size }]) => [name, size]));
  await until('single pictures that move on all tiles', async () => {
    const tiles = await wall.evaluate(() => [...window.portald?.tiles.values() ?? []].filter(({ phase }) => phase === 'stills')
      .map(({ name, still, element }) => ({ name, src: still.src, hidden: still.hidden, badge: element.querySelector('.badge').textContent })));
    for (const { name, src, hidden, badge } of tiles) {
      assert.deepEqual({ name, hidden, badge }, { name, hidden: false, badge: 'single pictures' });
      seen.get(name).add(src);
    }
    return [...seen.values()].every(({ size }) => size >= PICTURES);
  }, said);
}
