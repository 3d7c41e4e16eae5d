/** What a page says of its pictures shows in /metrics. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { allLive, cameraTable, Daemon, faultsOf, launchBrowser, openPage, until } from './harness.mjs';

test('a picture that stands still is counted by the page and shown in /metrics', async () => {
  const browser = await launchBrowser();
  const daemon = await Daemon.start(cameraTable('alpha'));
  try {
    const wall = await openPage(browser, daemon.url, { width: 1280, height: 760 });
    await allLive(wall, ['alpha']);
    /** The figures of the only viewer, all of one moment. Its number is not 1 where a slow machine had to connect twice. */
    const figures = async () => {
      const page = await (await fetch(new URL('metrics', daemon.url))).text();
      const series = /^portald_viewer_(\w+)\{camera="alpha",viewer="\d+"\} (\S+)$/gm;
      return Object.fromEntries([...page.matchAll(series)].map(([, name, value]) => [name, Number(value)]));
    };
    const reached = (name, least) => until(`${name} over ${least}`, async () => (await figures())[name] > least, figures);
    // Before the first pictures have passed the browser calls nothing a freeze.
    await reached('decoded_frames_total', 30);
    const counted = () => wall.evaluate(async () => {
      const stats = await window.portald.gun.portals.get('!alpha').peer.getStats();
      return [...stats.values()].find(({ type, kind }) => type === 'inbound-rtp' && kind === 'video').freezeCount;
    });
    const before = await counted();
    daemon.process.kill('SIGSTOP');
    // Half of what a page takes for a connection that is lost, and replaces: that one would be counted anew.
    await sleep(1_500);
    daemon.process.kill('SIGCONT');
    await until('the browser to count a freeze', async () => (await counted()) > before);
    await reached('freezes_total', before);
    await reached('frozen_seconds_total', 0.5);
    await reached('round_trip_seconds', 0);
    const told = await figures();
    assert.ok(told.freezes_total <= (await counted()), 'no more than the page counted');
    assert.ok(told.sent_frames_total >= told.decoded_frames_total, JSON.stringify(told));
    await wall.close();
    await until('the viewer to be gone', async () => (await figures()).sent_frames_total === undefined);
    assert.deepEqual(faultsOf(wall), []);
  } finally {
    await browser.close();
    await daemon.stop();
  }
});
