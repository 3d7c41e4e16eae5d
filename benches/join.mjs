/**
 * Joins a room again and again from a page and writes, as JSON, how long each join took (ms), from making the client to
 * the first picture displayed; and to the steps on the way. Usage: `node join.mjs URL ROOM JOINS PAUSE`.
 */
import { withBrowser } from './browser.mjs';

const [url, room, joins, pause] = process.argv.slice(2);

await withBrowser(async (browser) => {
  const page = await browser.newPage();
  // Any page of the daemon's; the wall itself would join too.
  await page.goto(new URL('healthz', url).href);
  const times = [];
  // The first one loads the decoder, and is not counted.
  for (let count = 0; count <= Number(joins); count++) {
    const time = await page.evaluate(join, { url, room });
    if (count > 0) times.push(time);
    await page.waitForTimeout(Number(pause));
  }
  return times;
});

/**
 * Runs in the page.
 * @param {{ url: string, room: string }} wanted
 */
async function join({ url, room }) {
  const { PortalGun } = await import(new URL('client.js', url).href);
  const begun = performance.now();
  const since = () => performance.now() - begun;
  const steps = {};
  const gun = new PortalGun({ room, url: new URL('portal', url) });
  const video = Object.assign(document.createElement('video'), { muted: true });
  document.body.append(video);
  await new Promise((resolve) => {
    gun.addEventListener('connection', ({ peer }) => {
      steps.member = since();
      peer.addEventListener('connectionstatechange', () => { steps[peer.connectionState] ??= since(); });
      peer.addEventListener('track', ({ track }) => {
        steps.offer = since();
        video.srcObject = new MediaStream([track]);
        video.play();
        video.requestVideoFrameCallback(() => {
          steps.picture = since();
          resolve();
        });
      });
    });
  });
  gun.close();
  video.remove();
  return steps;
}
