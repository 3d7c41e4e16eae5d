/**
 * Writes, as JSON, how old pictures are when they are displayed (median, ms): of one viewer who has watched for long, and
 * of one who joined in the midst of a long group of pictures, at the same time; and before and after the daemon stood
 * still. Usage: `node delay.mjs URL NETWORK DAEMON`, the name of a camera with long groups or nothing, and a process id.
 */
import { withBrowser } from './browser.mjs';

/** Pictures that a level is the median of. */
const PICTURES = 90;
/** Into the group of pictures (ms), which is 10 s long. */
const INTO = 6_000;
/** After a join or a stall it is over by then (ms). */
const SETTLED = 3_000;
/** How long the daemon stands still (ms): longer than any queue, shorter than what ends a session. */
const STILL = 2_000;

const [url, network, daemon] = process.argv.slice(2);

await withBrowser(async (browser) => {
  const open = async (camera) => {
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
    await page.goto(`${url}?room=${camera}&camera=${camera}`);
    await page.waitForFunction((id) => window.portald?.tiles.get(id)?.video.videoWidth >= 1280, `!${camera}`);
    return page;
  };
  const level = (page, camera) => page.evaluate(look, { id: `!${camera}`, count: PICTURES });
  const figures = {};
  if (network) {
    const first = await open(network);
    await first.waitForTimeout(INTO);
    const late = await open(network);
    await late.waitForTimeout(SETTLED);
    // One at a time: the browser slows down pages that are not in front.
    const joined = await level(late, network);
    await first.bringToFront();
    await first.waitForTimeout(SETTLED);
    figures.join = { before: await level(first, network), after: joined };
    await Promise.all([first.close(), late.close()]);
  }
  const page = await open('own');
  await page.waitForTimeout(SETTLED);
  const before = await level(page, 'own');
  process.kill(Number(daemon), 'SIGSTOP');
  await page.waitForTimeout(STILL);
  process.kill(Number(daemon), 'SIGCONT');
  await page.waitForTimeout(SETTLED);
  figures.stall = { before, after: await level(page, 'own') };
  return figures;
});

/** Runs in the page: the median age of the next pictures when they are displayed; their packets say when they were taken. */
function look({ id, count }) {
  const { video, portal } = window.portald.tiles.get(id);
  const [receiver] = portal.peer.getReceivers();
  const ages = [];
  return new Promise((resolve) => {
    const onFrame = (_, { rtpTimestamp }) => {
      const at = Date.now();
      const source = receiver.getSynchronizationSources().find((one) => one.rtpTimestamp === rtpTimestamp);
      // NTP's milliseconds since 1900.
      if (source?.captureTimestamp) ages.push(at - (source.captureTimestamp - 2_208_988_800_000));
      if (ages.length < count) video.requestVideoFrameCallback(onFrame);
      else resolve(ages.sort((a, b) => a - b)[count >> 1]);
    };
    video.requestVideoFrameCallback(onFrame);
  });
}
