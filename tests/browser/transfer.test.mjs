/** What the wall costs the network before there is something to see: first paint on a slow link, and on old tablets. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { allLive, CAMERAS, Daemon, launchBrowser, LIMIT, tilesOf, until } from './harness.mjs';

/** Promised (bytes): everything until the first live tile, with heads of answers. */
const MOST = 100_000;
/** The same for who comes again: heads of answers that nothing has changed, and what the API says. */
const MOST_AGAIN = 30_000;
/** Menus and the like are fetched 5 s after the start; what of them comes later than this (s) was no part of it. */
const SOON = 4;

test('the first picture is there within 100 kB, and coming again costs next to nothing', async () => {
  const browser = await launchBrowser();
  const daemon = await Daemon.start();
  try {
    const context = await browser.newContext({ viewport: { width: 800, height: 600 } });
    context.setDefaultTimeout(LIMIT);
    const first = await transferred(context, daemon);
    console.log(`first visit: ${sum(first)} bytes in ${first.length} answers`);
    for (const { url, bytes } of [...first].sort((a, b) => b.bytes - a.bytes).slice(0, 5)) console.log(`  ${bytes} ${url}`);
    assert.ok(first.length > 10 && first.every(({ bytes }) => bytes > 0), 'all were counted');
    assert.ok(sum(first) < MOST, `${sum(first)} bytes`);
    for (const { url, headers } of first.filter(({ url }) => !url.includes('/api/'))) {
      assert.equal(headers['cache-control'], 'no-cache', url);
      assert.match(headers.etag ?? '', /^"[0-9a-f]+"$/, url);
    }
    const again = await transferred(context, daemon);
    console.log(`second visit: ${sum(again)} bytes in ${again.length} answers`);
    assert.ok(sum(again) < MOST_AGAIN, `${sum(again)} bytes`);
  } finally {
    await browser.close();
    await daemon.stop();
  }
});

/** What came over the wire, from the navigation to the first live tile. */
async function transferred(context, daemon) {
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  await session.send('Network.enable');
  const answers = new Map();
  let begun;
  session.on('Network.responseReceived', ({ requestId, timestamp, response: { url, headers } }) => {
    begun ??= timestamp;
    const lower = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
    answers.set(requestId, { url, headers: lower, at: timestamp - begun });
  });
  const counted = [];
  session.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
    const answer = answers.get(requestId);
    // Where a busy machine is late with the connection the page asks again, and for single pictures: that is not its size.
    const isLate = answer?.at > SOON && /\/(menu|stats|zoom)\.(css|js)$/.test(answer.url);
    const isExtra = !answer || isLate || /^data:|\/cameras\/|\/stills\.js/.test(answer.url) || counted.some(({ url }) => url === answer.url);
    if (!isExtra) counted.push({ ...answer, bytes: encodedDataLength });
  });
  await page.goto(daemon.url);
  await until('a live tile', async () => Object.values(await tilesOf(page)).some(({ phase }) => phase === 'live'));
  const answered = [...counted];
  await allLive(page, CAMERAS);
  await page.close();
  return answered;
}

/** @param {{ bytes: number }[]} answers */
function sum(answers) {
  return answers.reduce((all, { bytes }) => all + bytes, 0);
}
