/**
 * A wall of three cameras whose daemon is killed and started again, whose box stands still, whose tab is frozen. Writes, as
 * JSON, how long (ms) it took each time until every tile said that it was not live, and, from the mending on, until every
 * one was; and the bytes of the page until its first live tile. Usage: `PORTALD_BIN=FILE node heal.mjs ROUNDS`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { allLive, CAMERAS, Daemon } from '../tests/browser/harness.mjs';
import { withBrowser } from './browser.mjs';

/** How long box and tab stand still (ms). */
const STILL = 10_000;
/** New pictures of each tile that make it live: one that was under way may be shown late. */
const PICTURES = 5;

const rounds = Number(process.argv[2]);
const daemon = await Daemon.start();

try {
  await withBrowser(async (browser) => {
    const page = await browser.newPage({ viewport: { width: 800, height: 600 } });
    const session = await page.context().newCDPSession(page);
    const bytes = await transferred(page, session);
    const [killed, box, tab] = [[], [], []];
    for (let round = 0; round < rounds; round++) {
      killed.push(await through(page, () => daemon.stop('SIGKILL'), () => daemon.run()));
      box.push(await through(page, () => daemon.process.kill('SIGSTOP'), async () => {
        await sleep(STILL);
        daemon.process.kill('SIGCONT');
      }));
      tab.push(await frozen(page, session));
    }
    return { cameras: CAMERAS.length, still_ms: STILL, bytes, killed, box, tab };
  }, 60_000 + rounds * 60_000);
} finally {
  await daemon.stop();
}

/**
 * What came over the wire until the first live tile.
 * @param {import('playwright-core').Page} page
 * @param {import('playwright-core').CDPSession} session
 */
async function transferred(page, session) {
  let bytes = 0;
  session.on('Network.loadingFinished', ({ encodedDataLength }) => { bytes += encodedDataLength; });
  await session.send('Network.enable');
  await page.goto(daemon.url);
  await page.waitForFunction(() => [...(window.portald?.tiles.values() ?? [])].some(({ phase }) => phase === 'live'), undefined, { polling: 20 });
  const until = bytes;
  await session.send('Network.disable');
  await allLive(page);
  return until;
}

/**
 * @param {import('playwright-core').Page} page
 * @param {() => unknown} begin
 * @param {() => Promise<unknown>} end
 */
async function through(page, begin, end) {
  const before = performance.now();
  await begin();
  await page.waitForFunction(() => [...window.portald.tiles.values()].every(({ phase }) => phase !== 'live'), undefined, { polling: 20 });
  const told = performance.now() - before;
  await end();
  return { told_ms: told, live_ms: await live(page) };
}

/**
 * @param {import('playwright-core').Page} page
 * @param {import('playwright-core').CDPSession} session
 */
async function frozen(page, session) {
  await session.send('Page.setWebLifecycleState', { state: 'frozen' });
  await sleep(STILL);
  await session.send('Page.setWebLifecycleState', { state: 'active' });
  return { live_ms: await live(page) };
}

/**
 * From now until every tile is live and has shown new pictures.
 * @param {import('playwright-core').Page} page
 */
async function live(page) {
  const begun = performance.now();
  const frames = await page.evaluate(() => [...window.portald.tiles.values()].map((tile) => tile.frames));
  await page.waitForFunction(([before, more]) => [...window.portald.tiles.values()]
    .every(({ phase, frames }, index) => phase === 'live' && frames >= before[index] + more), [frames, PICTURES], { polling: 20 });
  return performance.now() - begun;
}
