/**
 * What the browser tests stand on: the real daemon, a real browser, a wire that can be cut. Nothing is ended here that
 * was not started here.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isNoFault } from './engines.mjs';
import { age, crc8, decodeStrip, readLuma } from './strip.mjs';

/** Long enough for a small, busy machine to do anything that ends well; a test that waits for it has failed. */
export const LIMIT = 60_000;
/** The cameras of the tests: each paints who it is. Small and slow, so that many pages of them fit one processor. */
export const CAMERAS = ['alpha', 'bravo', 'charlie'];
export const MAIN = { width: 960, height: 540 };
export const SUB = { width: 480, height: 270 };

/** Logs and screenshots of this run. */
export const artifacts = mkdtempSync(path.join(tmpdir(), 'portald-browser-'));
console.log(`logs and screenshots: ${artifacts}`);

/**
 * A camera's table for a test's config.
 * @param {string} name
 * @param {Record<string, unknown>} [changes]
 */
export function cameraTable(name, changes = {}) {
  const table = { title: `Camera ${name}`, rooms: ['home', 'mesh'], source: `test:${TEST_PATTERNS[name] ?? 'ball'}`, ...MAIN,
    framerate: 15, bitrate: 800, ...changes };
  const lines = Object.entries(table).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  return `[camera.${name}]\n${lines.join('\n')}\n[camera.${name}.sub]\nwidth = ${SUB.width}\nbitrate = 300\n`;
}

const TEST_PATTERNS = { alpha: 'ball', bravo: 'smpte', charlie: 'pinwheel' };

/** The daemon, started for one test. */
export class Daemon {
  /**
   * @param {string} cameras tables of the config
   * @param {{ tls?: boolean, host?: string }} [options] `tls`: with a certificate of its own; `host`: where it is reached
   */
  static async start(cameras = CAMERAS.map((name) => cameraTable(name)).join(''), { tls = false, host = '127.0.0.1' } = {}) {
    const binary = process.env.PORTALD_BIN;
    if (!binary) throw new Error('PORTALD_BIN is not set: it names the portald binary that is tested');
    const daemon = new Daemon();
    daemon.binary = path.resolve(binary);
    daemon.port = await freePort();
    Object.assign(daemon, { tls, host });
    daemon.directory = mkdtempSync(path.join(artifacts, 'daemon-'));
    daemon.config = path.join(daemon.directory, 'portald.toml');
    const rooms = '[room.home]\nmode = "wall"\n[room.mesh]\nmode = "mesh"\n[room.empty]\nmode = "wall"\n';
    const listen = host === '127.0.0.1' ? host : '0.0.0.0';
    const certificate = tls ? '[server.tls]\nself_signed = true\n' : '';
    writeFileSync(daemon.config, `[server]\nlisten = "${listen}:${daemon.port}"\n${certificate}${rooms}${cameras}`);
    await daemon.run();
    return daemon;
  }

  /** Where it serves. */
  get url() {
    return `http${this.tls ? 's' : ''}://${this.host}:${this.port}/`;
  }

  /** PEM, with TLS. */
  get certificate() {
    return readFileSync(path.join(this.directory, 'state', 'tls.pem'), 'utf8');
  }

  /** Starts the process, and waits until it serves. */
  async run() {
    const environment = Object.entries(process.env).filter(([name]) => !name.startsWith('PORTALD_'));
    const log = createWriteStream(path.join(this.directory, 'log'), { flags: 'a' });
    this.process = spawn(this.binary, ['run', '--config', this.config], {
      env: { ...Object.fromEntries(environment), STATE_DIRECTORY: path.join(this.directory, 'state') }, stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.process.stdout.pipe(log, { end: false });
    this.process.stderr.pipe(log, { end: false });
    this.exit = once(this.process, 'exit');
    await until(`${this.binary} to serve ${this.url}`, async () => {
      if (this.process.exitCode !== null) throw new Error(`portald ended:\n${this.log()}`);
      // With TLS the answer is the way to https.
      const plain = `http://${this.host}:${this.port}/healthz`;
      const answer = await fetch(plain, { redirect: 'manual' }).catch(() => undefined);
      return answer?.status === (this.tls ? 308 : 200);
    });
  }

  /** @param {NodeJS.Signals} signal */
  async stop(signal = 'SIGTERM') {
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill(signal);
    await this.exit;
  }

  log() {
    return readFileSync(path.join(this.directory, 'log'), 'utf8');
  }

  /** @param {string} api */
  async get(api) {
    return (await fetch(new URL(api, this.url))).json();
  }

  /** How many watch each camera, by name. */
  async viewers() {
    return Object.fromEntries((await this.get('api/cameras')).map(({ name, viewers }) => [name, viewers]));
  }
}

/** A portals server as the library's own behaves, faults included: tests/relay. */
export class Relay {
  /** @param {number} [port] by default one that is free */
  static async start(port = 0) {
    const relay = new Relay();
    const script = path.join(path.dirname(fileURLToPath(import.meta.url)), '../relay/relay.mjs');
    relay.process = spawn('node', [script, '--port', String(port), '--rooms', 'home'], { stdio: ['ignore', 'pipe', 'inherit'] });
    relay.exit = once(relay.process, 'exit');
    const [line] = await Promise.race([once(relay.process.stdout, 'data'), relay.exit]);
    relay.port = Number(/^listening on (\d+)/.exec(String(line))?.[1]);
    if (!relay.port) throw new Error('the relay does not start; `npm ci` in tests/relay installs what it needs');
    relay.url = `http://127.0.0.1:${relay.port}/`;
    return relay;
  }

  async stop() {
    this.process.kill('SIGKILL');
    await this.exit;
  }
}

/** A way to the daemon that can be cut and mended, as a network can. */
export class Wire {
  #sockets = new Set();
  #isCut = false;

  /** @param {number} port where it leads */
  static async to(port) {
    const wire = new Wire();
    wire.server = net.createServer((near) => {
      if (wire.#isCut) return near.destroy();
      const far = net.connect(port, '127.0.0.1');
      for (const [from, into] of [[near, far], [far, near]]) {
        wire.#sockets.add(from);
        from.on('error', () => into.destroy());
        from.on('close', () => wire.#sockets.delete(from) && into.destroy());
        from.pipe(into);
      }
    });
    await once(wire.server.listen(0, '127.0.0.1'), 'listening');
    wire.url = `http://127.0.0.1:${wire.server.address().port}/`;
    return wire;
  }

  /** Ends what goes over it, and lets nothing new through. */
  cut() {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend() {
    this.#isCut = false;
  }

  close() {
    this.cut();
    this.server.close();
  }
}

/** Pages of our own, served from another origin than the daemon's. */
export async function servePages() {
  const home = path.dirname(fileURLToPath(import.meta.url));
  const files = { '/member.html': 'pages/member.html', '/member.js': 'pages/member.js', '/stock-client.js': 'stock-client.js' };
  const server = http.createServer((request, response) => {
    const file = files[new URL(request.url, 'http://x').pathname];
    if (!file) return response.writeHead(404).end();
    response.setHeader('content-type', file.endsWith('.html') ? 'text/html' : 'text/javascript');
    response.end(readFileSync(path.join(home, file)));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  // `localhost` and not the address: another origin than the daemon's, and a secure one, as a webcam needs.
  return { url: `http://localhost:${server.address().port}/`, close: () => server.close() };
}

export { CODEC, doubleClick, ENGINE, launch as launchBrowser, savedAs } from './engines.mjs';

/**
 * Opens a page of its own profile; what goes wrong in it fails the test when `faultsOf` is asked.
 * @param {import('playwright-core').Browser} browser
 * @param {string | URL} url
 * @param {{ width: number, height: number }} [viewport] by default small, so that walls ask for the small renditions
 * @param {import('playwright-core').BrowserContextOptions} [more]
 */
export async function openPage(browser, url, viewport = { width: 800, height: 600 }, more = {}) {
  const context = await browser.newContext({ viewport, ...more });
  context.setDefaultTimeout(LIMIT);
  const page = await context.newPage();
  const faults = [];
  page.on('pageerror', (error) => isNoFault(error) || faults.push(`error: ${error.message}`));
  page.on('console', (message) => {
    // A daemon that is away is what some tests are about; a breach of the page's own policy never is.
    if (/Content Security Policy|Permissions-Policy/i.test(message.text())) faults.push(message.text());
  });
  pageFaults.set(page, faults);
  await page.goto(String(url));
  return page;
}

const pageFaults = new WeakMap();

/** @param {import('playwright-core').Page} page */
export function faultsOf(page) {
  return pageFaults.get(page);
}

/**
 * Opens the page of pages/member.js.
 * @param {import('playwright-core').Browser} browser
 * @param {{ url: string }} pages
 * @param {{ url: string }} daemon or another server
 * @param {Record<string, string>} wanted its query
 */
export function openMember(browser, pages, daemon, wanted) {
  const url = new URL('member.html', pages.url);
  for (const [name, value] of Object.entries({ server: daemon.url, ...wanted })) url.searchParams.set(name, value);
  return openPage(browser, url);
}

/** @param {import('playwright-core').Page} page one with a wall; the `stats` of its tiles by camera name */
export async function tilesOf(page) {
  const stats = await page.evaluate(() => [...(window.portald?.tiles.values() ?? [])].map((tile) => tile.stats));
  return Object.fromEntries(stats.map((one) => [one.name, one]));
}

/**
 * Waits until the wall on `page` has a live tile for each of `cameras`.
 * @param {import('playwright-core').Page} page
 */
export async function allLive(page, cameras = CAMERAS) {
  return until(`live tiles of ${cameras}`, async () => {
    const tiles = await tilesOf(page);
    return cameras.every((name) => tiles[name]?.phase === 'live') && tiles;
  }, () => tilesOf(page));
}

/**
 * From here on, remembers the connections of a wall's cameras and writes down every tile that stops being live.
 * @param {import('playwright-core').Page} wall
 */
export function watchTiles(wall) {
  return wall.evaluate(() => {
    const tiles = [...window.portald.tiles.values()];
    window.watched = { peers: new Map(tiles.map((tile) => [tile.id, tile.portal.peer])), lapses: [] };
    const watch = new MutationObserver((changes) => {
      for (const { target } of changes) if (target.dataset.phase !== 'live') window.watched.lapses.push(target.innerText);
    });
    watch.observe(document.getElementById('grid'), { subtree: true, attributeFilter: ['data-phase'] });
  });
}

/**
 * What has become of the tiles since {@link watchTiles}: which cameras have another connection (RTCPeerConnection
 * object) than then, and what tiles said when they were not live.
 * @param {import('playwright-core').Page} wall
 * @returns {Promise<{ rebuilt: string[], lapses: string[] }>}
 */
export function changesOf(wall) {
  return wall.evaluate(() => {
    const { peers, lapses } = window.watched;
    // A machine with too much to do may keep an encoder waiting, which is told; these tests are about connections.
    const told = lapses.filter((text) => !text.includes('its encoder does not'));
    const rebuilt = [...peers].filter(([id, peer]) => window.portald.tiles.get(id)?.portal?.peer !== peer);
    return { rebuilt: rebuilt.map(([id]) => id.slice(1)), lapses: told };
  });
}

/**
 * As {@link changesOf}, without pictures that were late and went on: a tile says so after 2 s, which a busy machine may take.
 * @param {import('playwright-core').Page} wall
 */
export async function interruptionsOf(wall) {
  const { rebuilt, lapses } = await changesOf(wall);
  return { rebuilt, lapses: lapses.filter((text) => !text.includes('No new picture for')) };
}

/** Nothing at all, as {@link changesOf} says it. */
export const UNCHANGED = { rebuilt: [], lapses: [] };

/**
 * Opens the menu of a tile, and waits for it: it comes by a module of its own, so a click's end is too soon to look, or to press Escape.
 * @param {import('playwright-core').Page} wall
 * @param {string} title the tile's
 */
export async function openMenu(wall, title) {
  const tile = wall.locator('.tile', { has: wall.getByRole('heading', { name: title, exact: true }) });
  await tile.hover();
  await tile.locator('.more').click();
  await wall.locator('.menu').waitFor();
}

/**
 * Waits until every tile has shown `count` more pictures.
 * @param {import('playwright-core').Page} wall
 * @param {number} count
 */
export async function moreFrames(wall, count) {
  const start = await tilesOf(wall);
  await until(`${count} more pictures`, async () => {
    const now = await tilesOf(wall);
    return Object.keys(start).every((name) => now[name].frames >= start[name].frames + count);
  }, () => tilesOf(wall));
}

/**
 * What the picture of a camera says of itself, on a wall or on a member's page; undefined when there is none.
 * @param {import('playwright-core').Page} page
 * @param {string} name
 */
export async function lookAt(page, name) {
  const video = await page.evaluateHandle(
    (id) => (window.portald?.tiles.get(id) ?? window.member?.seen.get(id))?.video, `!${name}`);
  if (!await video.evaluate((element) => element?.videoWidth > 0)) return undefined;
  const { luma, ...picture } = await video.evaluate(readLuma, MAIN.width);
  const strip = decodeStrip(luma);
  return { ...picture, ...strip, age: age(strip, picture.at) };
}

/**
 * Waits until the picture of `name` (another box's: `box.camera`) is that camera's, fresh, of one of its sizes, and moves on from there.
 * @param {import('playwright-core').Page} page
 * @param {string} name
 */
export async function showsCamera(page, name, sizes = [MAIN, SUB]) {
  let last;
  // A camera paints the name that it has on its own box.
  const identity = crc8(name.split('.').at(-1));
  const look = async () => {
    last = await lookAt(page, name);
    if (!last) return false;
    const rightSize = sizes.some(({ width, height }) => last.width === width && last.height === height);
    return rightSize && last.identity === identity && last.age < 10_000 && last;
  };
  const said = () => ({ ...last, wanted: { identity, sizes } });
  const first = await until(`the picture of ${name}`, look, said);
  return until(`the picture of ${name} to move`, async () => {
    const later = await look();
    return later && later.counter !== first.counter && later;
  }, said);
}

/**
 * Waits until `check` returns something true, and returns that.
 * @template T
 * @param {string} what is waited for, for the failure's text
 * @param {() => Promise<T>} check
 * @param {() => unknown} [explain] what is there instead, for the failure's text
 */
export async function until(what, check, explain = () => '') {
  const end = Date.now() + LIMIT;
  for (;;) {
    const result = await check();
    if (result) return result;
    if (Date.now() > end) throw new Error(`waited ${LIMIT / 1000} s in vain for ${what}; ${JSON.stringify(await explain())}`);
    await sleep(100);
  }
}

/**
 * Hides a page from its own scripts, or shows it: a headless browser's are never hidden.
 * @param {import('playwright-core').Page} page
 * @param {boolean} hidden
 */
export function hide(page, hidden) {
  return page.evaluate((is) => {
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => is });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
}

/**
 * Keeps a picture of `page` among the artifacts.
 * @param {import('playwright-core').Page} page
 * @param {string} name
 */
export async function keepPicture(page, name) {
  await page.screenshot({ path: path.join(artifacts, `${name}.png`) });
}

async function freePort() {
  const server = net.createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
