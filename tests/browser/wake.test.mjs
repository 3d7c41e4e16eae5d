/** A page that was frozen, asleep or hidden is live again at once, without a reload; a hidden one is sent nothing. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test, { after, before } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { allLive, CAMERAS, Daemon, ENGINE, faultsOf, hide, launchBrowser, openPage, showsCamera, tilesOf, until } from './harness.mjs';
import { followStills, healed, markPage } from './healing.mjs';

/** Longer than the seat is kept (10 s), than a camera sends to somebody silent, and than the socket may be (15 s). */
const ASLEEP = 20_000;
/** What is promised of a tab that comes back (ms), and after how long a hidden one is sent nothing: 3 s and 20 s. */
const AT_ONCE = 1_000;

let daemon;
before(async () => { daemon = await Daemon.start(); });
after(() => daemon?.stop());

/** A wall in a browser of its own, for what is done to a whole browser. */
function withWall(name, body) {
  test(name, async () => {
    const browser = await launchBrowser();
    try {
      const wall = await openPage(browser, daemon.url);
      await allLive(wall);
      await markPage(wall);
      await body(wall, browser);
      for (const camera of CAMERAS) await showsCamera(wall, camera);
      assert.deepEqual(faultsOf(wall), []);
    } finally {
      await browser.close();
    }
  });
}

// Only Chromium can be told to freeze a tab.
if (ENGINE === 'chromium') withWall('a tab that was frozen is live again', async (wall) => {
  const cdp = await wall.context().newCDPSession(wall);
  await cdp.send('Page.setWebLifecycleState', { state: 'frozen' });
  await sleep(ASLEEP);
  await cdp.send('Page.setWebLifecycleState', { state: 'active' });
  await healed(wall, `${ASLEEP / 1000} s frozen`);
});

withWall('a machine that slept is live again', async (wall) => {
  const processes = descendants(process.pid).filter((pid) => pid !== daemon.process.pid);
  assert.ok(processes.length > 2, 'the browser has its processes');
  for (const pid of processes) process.kill(pid, 'SIGSTOP');
  try {
    await sleep(ASLEEP);
  } finally {
    for (const pid of processes) process.kill(pid, 'SIGCONT');
  }
  await healed(wall, `${ASLEEP / 1000} s asleep`);
});

withWall('a hidden tab is sent nothing after a while, asks for nothing, and comes back at once', async (wall) => {
  const stills = followStills(wall);
  await hide(wall, true);
  const begun = Date.now();
  let last = await bytesOf(wall);
  await until('nothing to come any more', async () => {
    await sleep(2_000);
    const before = last;
    last = await bytesOf(wall);
    return last === before;
  }, () => last);
  console.log(`a hidden tab is sent nothing after ${Date.now() - begun} ms; promised are 23000`);
  await until('the cameras to close', async () => (await daemon.get('api/cameras')).every(({ state }) => state === 'idle'));
  assert.equal(stills.counts.asked, 0, 'no single pictures for nobody');
  assert.equal(await bytesOf(wall), last, 'still nothing');
  await hide(wall, false);
  const { gap } = await returned(wall);
  console.log(`all tiles show new pictures ${gap} ms after the tab came back; wished for is ${AT_ONCE}`);
  await healed(wall, 'hidden');
  assert.equal(stills.counts.asked, 0);
});

/** Bytes of all RTP that the page has got. */
function bytesOf(wall) {
  return wall.evaluate(async () => {
    let sum = 0;
    for (const { peer } of window.portald.gun.portals.values()) {
      for (const stats of (await peer.getStats()).values()) if (stats.type === 'inbound-rtp') sum += stats.bytesReceived;
    }
    return sum;
  });
}

/** Waits for a new picture on each tile; `gap` is how long that took. */
async function returned(wall) {
  const begun = Date.now();
  const before = await tilesOf(wall);
  await until('new pictures', async () => {
    const now = await tilesOf(wall);
    return Object.values(now).every(({ name, frames }) => frames > before[name].frames);
  });
  return { gap: Date.now() - begun };
}

/** @param {number} root @returns {number[]} its children, theirs, and so on */
function descendants(root) {
  const parents = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).flatMap((name) => {
    try {
      // After the name, which may have blanks and brackets: the state, the parent.
      const parent = Number(readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').at(-1).split(' ')[1]);
      return [{ pid: Number(name), parent }];
    } catch {
      return []; // It has ended meanwhile.
    }
  });
  const below = (pid) => parents.filter(({ parent }) => parent === pid).flatMap((child) => [child.pid, ...below(child.pid)]);
  return below(root);
}
