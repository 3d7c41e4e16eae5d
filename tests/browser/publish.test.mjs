/** Pages that show their own webcam (Chromium's fake one) to the room, as pages written for portals do. */
import assert from 'node:assert/strict';
import test, { after, afterEach, before, beforeEach } from 'node:test';
import {
  CAMERAS, Daemon, faultsOf, keepPicture, launchBrowser, openMember, servePages, showsCamera, until,
} from './harness.mjs';

let browser;
let daemon;
let pages;
before(async () => {
  browser = await launchBrowser();
  pages = await servePages();
});
after(async () => {
  await browser?.close();
  pages?.close();
});
beforeEach(async () => { daemon = await Daemon.start(); });
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
  await daemon.stop();
});

for (const client of ['portald', 'stock']) {
  test(`a page with a webcam in a wall room sees the cameras, through glare and a second offer (${client} client)`, async () => {
    const page = await openMember(browser, pages, daemon, { room: 'home', client, publish: '' });
    for (const name of CAMERAS) await showsCamera(page, name);
    // All at once: while one is not up after a rollback, its renewal makes a stock client build all of them anew.
    await until('all connections to be up', () => page.evaluate(() =>
      [...window.member.seen.values()].every(({ portal: { peer } }) => peer.connectionState === 'connected')), () => states(page));
    const connections = await connectionsOf(page);

    // It adds a track when all is settled: an offer of its own, which the camera is to answer.
    await page.evaluate(async () => {
      const sound = await navigator.mediaDevices.getUserMedia({ audio: true });
      for (const { portal } of window.member.seen.values()) portal.addMediaStream(sound);
    });
    await until('an answer to the second offer', () => page.evaluate(() =>
      [...window.member.seen.values()].every(({ portal: { peer } }) =>
        peer.signalingState === 'stable' && peer.currentLocalDescription?.type === 'offer')), () => states(page));
    for (const name of CAMERAS) await showsCamera(page, name);
    assert.deepEqual(await connectionsOf(page), connections, 'all over the same connections');
    await keepPicture(page, `publish-${client}`);
    assert.deepEqual(faultsOf(page), []);

    await page.context().close();
    await until('the cameras to be rid of it', async () =>
      Object.values(await daemon.viewers()).every((count) => count === 0), () => daemon.viewers());
  });
}

for (const clients of [['portald', 'portald'], ['portald', 'stock']]) {
  test(`two pages with webcams in a mesh room see each other and the cameras (${clients.join(' and ')})`, async () => {
    const [first, second] = await Promise.all(clients.map((client) =>
      openMember(browser, pages, daemon, { room: 'mesh', client, publish: '' })));
    // A stock client can take a late answer for that of a newer connection, and cannot notice; the next roster makes it
    // build anew, as somebody's coming does in real life.
    const nudge = clients.includes('stock') && setInterval(() => void comeAndGo(first), 20_000);
    for (const page of [first, second]) {
      await until('the other page’s pictures', async () => (await others(page)).some(({ frames, width }) => frames > 10 && width > 0),
        () => states(page)).finally(() => page === second && clearInterval(nudge));
      for (const name of CAMERAS) await showsCamera(page, name);
    }
    await keepPicture(first, `mesh-${clients.join('-')}`);

    await second.context().close();
    await until('the other page to be gone', async () => (await others(first)).length === 0);
    for (const name of CAMERAS) await showsCamera(first, name);
  });
}

/** Somebody joins the mesh room, and leaves. */
function comeAndGo(page) {
  const url = daemon.url.replace(/^http/, 'ws') + 'portal?room=mesh';
  return page.evaluate((url) => {
    const socket = new WebSocket(url);
    socket.onmessage = () => socket.close(1000);
  }, url).catch(() => {});
}

/** How many connections a member's page has had with each camera. */
function connectionsOf(page) {
  return page.evaluate(() => [...window.member.seen.values()].map((view) => view.connections));
}

/** What a member's page sees of people. */
function others(page) {
  return page.evaluate(() => [...(window.member?.seen ?? [])].filter(([id]) => !id.startsWith('!'))
    .map(([id, { frames, video }]) => ({ id, frames, width: video.videoWidth })));
}

/** For the text of a failure. */
function states(page) {
  return page.evaluate(() => [...(window.member?.seen ?? [])].map(([id, { frames, connections, portal }]) => ({
    id, frames, connections, polite: portal.target.polite, signaling: portal.peer.signalingState,
    connection: portal.peer.connectionState, errors: window.member.errors })));
}
