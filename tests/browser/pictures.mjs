/** Makes the pictures of docs/ anew: `make pictures`. Small ones, since every clone carries them. */
import assert from 'node:assert/strict';
import { mkdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Daemon, launchBrowser, openMenu, openPage, tilesOf, until } from './harness.mjs';

const DOCS = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../docs');
/** Bytes, of each. */
const LARGEST = 60_000;
/** Of JPEG. */
const QUALITY = 72;

/** @type {[name: string, title: string, source: string, rooms: string[], width?: number, height?: number][]} */
const CAMERAS = [
  ['a-door', 'Front door', 'test:smpte', ['home', 'house']],
  ['b-garden', 'Garden', 'test:gradient', ['home']],
  ['c-garage', 'Garage', '/dev/v4l/by-id/usb-046d_C920-video-index0', ['home', 'house']],
  ['d-workshop', 'Workshop', 'test:pinwheel', ['home', 'house']],
  ['e-stairs', 'Stairs', 'test:gamut', ['home'], 540, 720],
  ['f-terrace', 'Terrace', 'test:smpte-rp-219', ['home']],
];

const cameras = CAMERAS.map(([name, title, source, rooms, width = 960, height = 540]) =>
  `[camera.${name}]\ntitle = "${title}"\nrooms = ${JSON.stringify(rooms)}\nsource = "${source}"\nwidth = ${width}\nheight = ${height}\nframerate = 3\nbitrate = 1500\n`).join('');
const [browser, daemon] = [await launchBrowser(), await Daemon.start(`[room.house]\n${cameras}`)];

/** @param {import('playwright-core').Page} page @param {string} name */
async function keep(page, name) {
  const file = path.join(DOCS, `${name}.jpg`);
  await page.screenshot({ path: file, type: 'jpeg', quality: QUALITY });
  assert.ok(statSync(file).size <= LARGEST, `${file} has ${statSync(file).size} bytes`);
}

/** @param {{ width: number, height: number }} screen @param {string} room */
async function openWall(screen, room) {
  // The rooms of the tests, of which a house has none.
  const wall = await openPage(browser, 'about:blank', screen);
  await wall.route('**/api/rooms', (route) => route.fulfill({ json: ['home', 'house'].map((name) => ({ name, mode: 'wall', members: [] })) }));
  await wall.goto(`${daemon.url}?room=${room}`);
  const phases = async () => Object.values(await tilesOf(wall)).map(({ phase, state, frames }) => state === 'absent' || (phase === 'live' && frames > 5));
  await until('all tiles', async () => (await phases()).filter(Boolean).length === CAMERAS.filter((camera) => camera[3].includes(room)).length, () => tilesOf(wall));
  return wall;
}

try {
  mkdirSync(DOCS, { recursive: true });
  const wall = await openWall({ width: 1120, height: 520 }, 'home');
  await keep(wall, 'wall');
  await openMenu(wall, 'Workshop');
  await wall.locator('.menu').getByText('Statistics').click();
  await wall.locator('.tile', { hasText: 'Workshop' }).locator('.open').evaluate((button) => button.click());
  await until('the full picture, and all its figures', async () => {
    const figures = await wall.locator('.statistics').innerText();
    return figures.includes('960 × 540') && figures.includes('kbit/s') && !figures.includes('–');
  });
  await keep(wall, 'large');
  await wall.context().close();
  await keep(await openWall({ width: 360, height: 740 }, 'house'), 'phone');
  const status = await openPage(browser, `${daemon.url}status`, { width: 1120, height: 520 });
  await status.locator('#events li').first().waitFor();
  await keep(status, 'status');
} finally {
  await browser.close();
  await daemon.stop();
}
