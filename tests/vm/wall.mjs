// What the tests in the virtual machine share: the daemon in the guest, a wall in a browser on the host, and what was to be seen
// on it when. A picture is known by its colour bars: vivid's, the same mirrored, or none, which is a slate.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { guest, logs, put, tryGuest, until, url } from './guest.mjs';

const { chromium } = createRequire(new URL('../browser/package.json', import.meta.url))('playwright-core');

/** Emulated, and with other tests beside it: only a hang takes so long. */
export const PATIENCE = { seconds: 180 };
/**
 * What is promised, in ms: dark before the slate, and from a fault's end to the picture. An emulated processor that others use
 * besides keeps it mostly; so it is printed, and only what looks like a hang fails.
 */
const PROMISED = { slate: 2_000, live: 3_000 };
const HUNG = 60_000;
/** Restarts that a busy machine causes by itself; of a device that never returns there is no picture, either. */
const OF_LOAD = ['stalled', 'encoder', 'hung'];

const HEAD = `[server]
listen = "192.168.213.2:8080"
[room.home]
mode = "wall"
`;

/** A camera's table: as much as an emulated processor encodes in time. */
export function cameraTable(name, source, changes = {}) {
  const table = { title: `Camera ${name}`, rooms: ['home'], source, width: 320, height: 180, framerate: 5, bitrate: 300, ...changes };
  return `[camera.${name}]\n${Object.entries(table).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`).join('')}`;
}

/** Starts the daemon in the guest, anew if it runs, with these cameras' tables. */
export async function serve(cameras) {
  put('portald.toml', HEAD + cameras);
  await guest('bash /share/install.sh');
  await guest('systemctl restart portald', PATIENCE);
  await until('the daemon to serve', async () => (await fetch(new URL('/healthz', url))).ok, PATIENCE);
}

/** Stops the daemon; what it, the kernel and what feeds cameras said is in the logs under `name`. */
export async function stopServing(name) {
  await tryGuest('systemctl stop portald', PATIENCE);
  writeFileSync(join(logs, `${name}.portald.log`), (await tryGuest('journalctl --no-pager -o short-monotonic -u portald')).text);
  writeFileSync(join(logs, `${name}.kernel.log`), (await tryGuest('dmesg; journalctl --no-pager -o short-monotonic -u usbcam -u feed')).text);
}

export function launchBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    timeout: PATIENCE.seconds * 1000,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
  });
}

/** Opens the wall. */
export async function openWall(browser) {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE.seconds * 1000);
  page.on('console', (message) => console.log(`page: ${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => console.log(`page: uncaught: ${error}`));
  await page.addInitScript(`window.kindOf = ${kindOf}`);
  await page.goto(url);
  await page.evaluate(() => { window.neverReloaded = true; });
  return page;
}

/** The cameras as the API shows them. */
export async function listCameras() {
  return (await fetch(new URL('/api/cameras', url))).json();
}

/** One of them. */
export async function cameraOf(name) {
  const cameras = await listCameras();
  const camera = cameras.find((one) => one.name === name);
  assert.ok(camera, `no camera “${name}” among ${JSON.stringify(cameras)}`);
  return camera;
}

/** How often a camera was restarted, by kind of fault; those without any are left out. */
export async function restartsOf(name) {
  const text = await (await fetch(new URL('/metrics', url))).text();
  const lines = text.matchAll(/^portald_camera_restarts_total\{(.*)\} (\d+)$/gm);
  const label = (labels, key) => new RegExp(`${key}="([^"]*)"`).exec(labels)?.[1];
  const ours = [...lines].filter(([, labels, count]) => label(labels, 'camera') === name && count !== '0');
  return Object.fromEntries(ours.map(([, labels, count]) => [label(labels, 'reason'), Number(count)]));
}

/**
 * From here on writes down what each tile of the wall shows, picture by picture. Waits until each shows what `shows` says: camera
 * name to `bars` or `mirrored`.
 */
export async function observe(page, shows) {
  const names = Object.keys(shows);
  await until(`tiles of ${names}`, () => page.evaluate((wanted) => {
    const tiles = [...(window.portald?.tiles.values() ?? [])];
    return wanted.every((name) => tiles.some((tile) => tile.name === name && tile.portal && tile.video.videoWidth > 0));
  }, names), PATIENCE);
  await page.evaluate(watchPictures);
  for (const [name, kind] of Object.entries(shows)) await showing(page, name, kind);
}

/** Waits until a tile shows pictures of this kind, moving. */
export async function showing(page, name, kind) {
  const before = (await seen(page, name)).pictures;
  await until(`${name} to show ${kind}`, async () => {
    const now = await seen(page, name);
    return now.shows === kind && now.pictures > before + 3 ? now : Promise.reject(new Error(JSON.stringify(now)));
  }, PATIENCE);
}

/**
 * What {@link observe} wrote down of a camera since `from` (ms): the changes of what it shows, how many pictures it showed in all,
 * the longest time without one, and whether it still comes over the connection it had.
 */
export function seen(page, name, from = 0) {
  return page.evaluate(([one, since]) => {
    const { tile, peer, changes, shows, times } = window.seen[one];
    const after = times.filter((at) => at >= since);
    const gaps = after.slice(1).map((to, index) => ({ from: after[index], to, ms: to - after[index] }));
    return {
      shows, changes: changes.filter(({ at }) => at >= since), pictures: times.length, newest: times.at(-1) ?? 0,
      gap: gaps.reduce((longest, gap) => (gap.ms > longest.ms ? gap : longest), { ms: 0 }),
      isSame: tile.portal?.peer === peer,
    };
  }, [name, from]);
}

/**
 * Has a camera suffer a fault while it and another are watched, and measures on the wall: how long until the slate, and how long
 * from the fault's end to the picture.
 * @param {import('playwright-core').Page} page one that is observed
 * @param {string} what it is called in what is printed
 * @param {{ camera: string, kind?: string, other: string, inflict: string, mend?: string, said?: RegExp }} fault
 *   `inflict` and `mend` are commands for the guest; without `mend` the fault ends by itself, as soon as the device is opened anew.
 *   `said`: what the API must give as the reason meanwhile
 */
export async function suffer(page, what, { camera, kind = 'bars', other, inflict, mend, said }) {
  const count = async () => Object.values(await faultsOf(camera)).reduce((sum, one) => sum + one, 0);
  const [before, beside] = [await count(), await faultsOf(other)];
  let reason = '';
  // Asked from before the fault on: one that ends by itself may be over when its command returns.
  const told = until(`the API to say what is wrong (${said ?? 'anything'})`, async () => {
    const { state, reason: now } = await cameraOf(camera);
    if (state !== 'live' && now) reason = now;
    return (said ? said.test(reason) : reason) && (mend || await count() > before) ? true : Promise.reject(new Error(reason));
  }, PATIENCE);
  const [begun] = await Promise.all([happens(inflict), told]);
  if (mend) {
    await until(`${camera} to show its slate`, async () => (await seen(page, camera)).shows === 'slate', PATIENCE);
  }
  const ended = mend ? await happens(mend) : begun;
  await until(`${camera} to be live`, async () => (await cameraOf(camera)).state === 'live', PATIENCE);
  await Promise.all([showing(page, camera, kind), showing(page, other, 'bars')]);
  // The last picture before it may be late, too.
  const { gap, changes } = await seen(page, camera, begun - 1_000);
  const slate = changes.find(({ shows, at }) => shows === 'slate' && at > gap.from)?.at;
  const took = { dark: gap.ms, slate: slate && slate - gap.from, live: gap.to - Math.max(ended, gap.from) };
  console.log(`${what}: dark for ${seconds(took.dark)}: slate after ${seconds(took.slate)}, live ${seconds(took.live)} after the fault’s end; “${reason}” (promised: ${seconds(PROMISED.slate)}, ${seconds(PROMISED.live)})`);
  for (const part of Object.keys(PROMISED)) assert.ok(!(took[part] > HUNG), `${what}: ${part} after ${seconds(took[part])}`);
  assert.ok(slate || took.dark < HUNG, `${what}: no slate`);
  assert.deepEqual(await faultsOf(other), beside, `${other} has nothing to do with it`);
  for (const name of [camera, other]) assert.ok((await seen(page, name)).isSame, `${name} over the same connection`);
  return { ...took, reason };
}

/** A camera's restarts, by kind of fault, but those that a busy machine causes by itself. */
export async function faultsOf(name) {
  return Object.fromEntries(Object.entries(await restartsOf(name)).filter(([kind]) => !OF_LOAD.includes(kind)));
}

function seconds(ms) {
  return ms === undefined ? 'never' : `${(ms / 1000).toFixed(1)} s`;
}

let ahead;

/** Runs a command in the guest; returns when it began to, in ms of this side's clock, to some tens of ms. */
async function happens(command) {
  ahead ??= await clockDifference();
  const text = await guest(`date +%s%3N; ${command}`, PATIENCE);
  return Number(text.split('\n')[0]) - ahead;
}

/** How far the guest's clock is ahead of ours, in ms. Both count the same seconds. */
async function clockDifference() {
  let best = { trip: Infinity };
  for (let n = 0; n < 5; n++) {
    const before = Date.now();
    const there = Number(await guest('date +%s%3N'));
    const trip = Date.now() - before;
    if (trip < best.trip) best = { trip, difference: there - (before + trip / 2) };
  }
  return best.difference;
}

/**
 * What a row of 64 RGBA pixels shows, taken from left to right below all that vivid writes into a picture. Also known to the page,
 * as `window.kindOf`.
 * @param {ArrayLike<number>} row
 * @returns {'bars' | 'mirrored' | 'slate'}
 */
export function kindOf(row) {
  // Red, green, blue, above half or not: white yellow cyan green magenta red blue black.
  const bars = '111 110 011 010 101 100 001 000';
  const read = Array.from({ length: 8 }, (_, bar) => [0, 1, 2].map((channel) => (row[(bar * 8 + 4) * 4 + channel] > 95 ? 1 : 0)).join(''));
  if (read.join(' ') === bars) return 'bars';
  return read.reverse().join(' ') === bars ? 'mirrored' : 'slate';
}

/** Runs in the page. */
function watchPictures() {
  window.seen = {};
  for (const tile of window.portald.tiles.values()) {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [64, 36];
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const seen = window.seen[tile.name] = { tile, peer: tile.portal.peer, changes: [], shows: '', times: [] };
    const look = () => {
      tile.video.requestVideoFrameCallback(look);
      context.drawImage(tile.video, 0, 0, 64, 36);
      const shows = window.kindOf(context.getImageData(0, 32, 64, 1).data);
      const at = performance.timeOrigin + performance.now();
      if (shows !== seen.shows) seen.changes.push({ shows, at });
      seen.shows = shows;
      if (shows !== 'slate') seen.times.push(at);
    };
    tile.video.requestVideoFrameCallback(look);
  }
}

/** Runs in the page: a picture's size, and 64 pixels from left to right below all that vivid writes into it. */
export async function readStill(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  const picture = await createImageBitmap(await answer.blob());
  const canvas = new OffscreenCanvas(64, 36);
  const context = canvas.getContext('2d');
  context.drawImage(picture, 0, 0, 64, 36);
  return { width: picture.width, height: picture.height, row: [...context.getImageData(0, 32, 64, 1).data] };
}
