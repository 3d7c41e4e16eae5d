/**
 * What runs and what lately happened, for who looks after the box. It reads only, unless one is logged in with the admin
 * token (see controls.js).
 * @module
 */
import { addressOf, byId, getJson, setText, token } from './api.js';

/** How often (ms) it is asked anew. */
const EVERY = 2_000;
/** What only those are told who may read `/metrics`. */
const FIGURES = ['uplinks', 'encoders'];
/** Events shown; more are in the journal. */
const EVENTS = 50;

/**
 * @typedef {{ name: string, codec: string, encoder: string, reason?: string | null, degraded?: string | null, width: number,
 *   height: number, framerate: number, bitrate: number, running?: boolean, viewers?: number }} Rendition
 * @typedef {import('./controls.js').Camera & { rooms: string[], state: string, reason?: string | null, since?: number,
 *   source?: string, renditions?: Rendition[], viewers?: number, dropped?: number, restarts?: number }} Camera
 * @typedef {{ name: string, mode: string, members: { kind: string }[] }} Room
 * @typedef {{ name: string, at: number, state: string, reason?: string | null }} Event
 * @typedef {{ name: string, viewer: number, rendition: string, codec: string, frames: number, bytes: number, lost: number,
 *   loss: number | null, round_trip: number | null,
 *   playback: { decoded: number, dropped: number, freezes: number, frozen: number } | null }} Viewer
 * @typedef {{ name: string, camera: string, connected: boolean, dropped: number, ended: Record<string, number> }} Uplink
 * @typedef {{ encoder: string, codec: string, width: number, height: number, at: number, works: boolean, told: string }} Trial
 * @typedef {{ changes: boolean, admin: boolean, figures: boolean }} Access
 */

/**
 * An element with children; all text is set as text.
 * @param {string} tag
 * @param {(Node | string)[]} children
 */
function element(tag, ...children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

/** @param {string} text */
function small(text) {
  return element('small', text);
}

/**
 * @param {string} state
 * @param {string} [text] what it is called here
 */
function stateOf(state, text = state) {
  const made = element('span', text);
  made.className = 'state';
  made.dataset.state = state;
  return made;
}

/** @typedef {(Node | string)[]} Cell */

/**
 * @param {Camera} camera
 * @returns {Cell[]}
 */
function cameraCells({ name, title, rooms, state, reason, since, source, renditions = [], viewers = 0, dropped = 0, restarts }) {
  /** @type {Cell} */
  const named = title === name ? [title] : [element('span', title), small(name)];
  if (source) named.push(small(source));
  const told = [stateOf(state), small(reason ?? ''), small(since ? `since ${clock(since)}` : '')].filter(({ textContent }) => textContent);
  const made = renditions.filter(({ running = true }) => running).map((one) => {
    const why = [one.reason, one.degraded].filter(Boolean).join('; ');
    return small(`${one.name}: ${one.width} × ${one.height}, ${Math.round(one.framerate)}/s, ${one.bitrate} kbit/s, ${one.codec} by ${one.encoder}`
      + `, ${one.viewers ?? 0} watch${why ? ` (${why})` : ''}`);
  });
  // A camera of another box does not say how often it was started.
  const trouble = [element('span', restarts === undefined ? '–' : String(restarts))];
  if (dropped) trouble.push(small(`${dropped} pictures dropped`));
  return [named, told, [rooms.join(', ')], [String(viewers)], made.length ? made : ['–'], trouble];
}

/**
 * @param {Room} room
 * @returns {Cell[]}
 */
function roomCells({ name, mode, members }) {
  const link = Object.assign(element('a', name), { href: wall(name) });
  const count = (/** @type {string} */ kind) => String(members.filter((member) => member.kind === kind).length);
  return [[link], [mode], [count('camera')], [count('peer')]];
}

/** What each viewer had been given when it was last asked. @type {Map<string, { at: number, frames: number, bytes: number }>} */
let given = new Map();

/**
 * @param {Viewer[]} viewers
 * @param {number} now performance.now()
 * @returns {Map<string, Cell[]>} by who it is
 */
function viewerRows(viewers, now) {
  const before = given;
  given = new Map();
  return new Map(viewers.map((one) => {
    const key = keyOf(one);
    const { frames, bytes } = one;
    given.set(key, { at: now, frames, bytes });
    const then = before.get(key);
    const seconds = then && (now - then.at) / 1000;
    // A number comes again with another viewer, who begins at 0.
    const rate = (/** @type {number} */ more, /** @type {string} */ unit) => (seconds && more >= 0 ? `${Math.round(more / seconds)}\u00a0${unit}` : '–');
    const { playback, loss, round_trip: trip } = one;
    const page = playback
      ? `${playback.decoded} shown, ${playback.dropped} dropped; stood still ${playback.freezes} times, ${playback.frozen.toFixed(1)}\u00a0s` : '–';
    return [key, [[one.name], [String(one.viewer)], [`${one.rendition}, ${one.codec}`],
      [rate(frames - (then?.frames ?? 0), 'pictures/s')], [rate(((bytes - (then?.bytes ?? 0)) * 8) / 1000, 'kbit/s')],
      [loss === null ? '–' : `${(100 * loss).toFixed(1)}\u00a0%`], [trip === null ? '–' : `${trip.toFixed(1)}\u00a0ms`], [page]]];
  }));
}

/** @param {Viewer} viewer */
function keyOf({ name, viewer }) {
  return `${name} ${viewer}`;
}

/**
 * @param {Uplink} uplink
 * @returns {Cell[]}
 */
function uplinkCells({ name, camera, connected, dropped, ended }) {
  const ends = Object.entries(ended).filter(([, count]) => count > 0).map(([why, count]) => `${why} ${count}`);
  const state = connected ? stateOf('live', 'connected') : stateOf('backoff', 'not connected');
  return [[name], [camera], [state],
    [ends.join(', ') || '–'], [String(dropped)]];
}

/**
 * @param {Trial[]} trials of one encoder, the largest size first
 * @returns {Cell[]}
 */
function trialCells(trials) {
  const [{ encoder, codec }] = trials;
  const [good, bad] = [trials.filter(({ works }) => works), trials.filter(({ works }) => !works)];
  const size = (/** @type {Trial} */ { width, height }) => `${width}\u00a0×\u00a0${height}`;
  // The words begin with what the mark says already.
  const why = (/** @type {Trial} */ { told }) => told.slice(told.indexOf(': ') + 2);
  /** @type {Cell} */
  const found = [];
  if (good.length > 0) {
    found.push(stateOf('live', 'works'), small(`at ${good.map(size).join(', ')}`), small(`${size(good[0])}: ${why(good[0])}`));
  }
  if (bad.length > 0) found.push(stateOf('backoff', 'does not work'));
  found.push(...bad.map((one) => small(`${size(one)}: ${why(one)}`)));
  return [[encoder], [codec.toUpperCase()], found, [clock(Math.max(...trials.map(({ at }) => at)))]];
}

/**
 * @param {Trial[]} trials
 * @returns {Map<string, Cell[]>} by encoder
 */
function trialRows(trials) {
  /** @type {Map<string, Trial[]>} */
  const all = new Map();
  for (const trial of trials) {
    const key = `${trial.encoder} ${trial.codec}`;
    all.set(key, [...all.get(key) ?? [], trial]);
  }
  return new Map([...all].map(([key, of]) => [key, trialCells(of)]));
}

/** @param {Event} event */
function eventItem({ name, at, state, reason }) {
  const time = Object.assign(element('time', clock(at)), { dateTime: new Date(at).toISOString() });
  return element('li', time, element('strong', name), stateOf(state), small(reason ?? ''));
}

/** @param {number} at Unix time in milliseconds */
function clock(at) {
  const time = new Date(at);
  const isToday = time.toDateString() === new Date().toDateString();
  return isToday ? time.toLocaleTimeString() : time.toLocaleString();
}

/** @param {string} room */
function wall(room) {
  const url = addressOf('./');
  url.searchParams.set('room', room);
  return url.href;
}

/** Rows by the table they are in, and by what they are of. @type {Map<string, Map<string, HTMLTableRowElement>>} */
const tables = new Map();

/**
 * Only the cells that have changed are made anew: who selects text, types or reads with a screen reader is not disturbed.
 * @param {string} id of the table's body
 * @param {Map<string, Cell[]>} wanted in their order
 */
function fill(id, wanted) {
  const body = byId(id);
  const rows = tables.get(id) ?? new Map();
  tables.set(id, rows);
  for (const [key, row] of rows) {
    if (wanted.has(key)) continue;
    row.remove();
    rows.delete(key);
  }
  const labels = [.../** @type {HTMLTableElement} */ (body.closest('table')).querySelectorAll('th')].map(({ textContent }) => textContent ?? '');
  let place = body.firstElementChild;
  for (const [key, cells] of wanted) {
    const row = rows.get(key) ?? document.createElement('tr');
    rows.set(key, row);
    if (row === place) place = row.nextElementSibling;
    else body.insertBefore(row, place);
    for (const [index, contents] of cells.entries()) {
      const cell = element('td', ...contents);
      cell.dataset.label = labels[index];
      const there = row.children[index];
      if (!there) row.append(cell);
      else if (!there.isEqualNode(cell)) there.replaceWith(cell);
    }
  }
  return rows;
}

/**
 * @template T
 * @param {T[]} list
 * @param {(one: T) => string} key
 * @param {(one: T) => Cell[]} cells
 */
function rowsOf(list, key, cells) {
  return new Map(list.map((one) => /** @type {const} */ ([key(one), cells(one)])));
}

/** What this visitor may do. @type {Access} */
let access = { changes: false, admin: false, figures: false };
/** Whether somebody who could change things here no longer can: the token was changed, or they logged out in another tab. */
let hasEnded = false;
/** By the camera's name. @type {Map<string, import('./controls.js').Controls>} */
const controls = new Map();

/**
 * @param {Camera[]} cameras
 * @param {Map<string, HTMLTableRowElement>} rows
 */
async function control(cameras, rows) {
  if (!access.admin) {
    for (const { cell } of controls.values()) cell.remove();
    controls.clear();
    return;
  }
  const { Controls } = await import('./controls.js');
  for (const name of controls.keys()) if (!rows.has(name)) controls.delete(name);
  for (const camera of cameras) {
    const row = rows.get(camera.name);
    // Another box's camera is changed there.
    if (!row?.isConnected || camera.enabled === undefined) continue;
    const there = controls.get(camera.name) ?? new Controls(camera, update);
    controls.set(camera.name, there);
    there.cell.dataset.label = 'Change';
    if (there.cell.parentElement !== row) row.append(there.cell);
    there.show(camera);
  }
}

/** @type {string | undefined} */
let events;
/** How often it was asked, and which of the answers is shown: one that is late must not undo a newer one. */
let [asked, shown] = [0, 0];

async function update() {
  const number = ++asked;
  const learning = learnAccess();
  // What is asked for depends on it; later what was known before will do, and a server that hangs is told as soon.
  if (number === 1) await learning;
  const [cameras, viewers, rooms, happened, version, ...figures] = /** @type {any[]} */ (await Promise.all([
    ...['cameras', 'viewers', 'rooms', 'events', 'version'].map((what) => getJson(`api/${what}`)),
    ...(access.figures ? FIGURES : []).map((what) => getJson(`api/${what}`, true)),
  ]));
  await learning;
  if (number < shown) return;
  shown = number;
  const [uplinks, encoders] = access.figures ? figures : [[], []];
  const name = (/** @type {{ name: string }} */ one) => one.name;
  byId('link').hidden = Array.isArray(cameras);
  if (Array.isArray(cameras)) await control(cameras, fill('cameras', rowsOf(cameras, name, cameraCells)));
  if (Array.isArray(viewers)) {
    fill('viewers', viewerRows(viewers, performance.now()));
    byId('nobody').hidden = viewers.length > 0;
  }
  if (Array.isArray(rooms)) fill('rooms', rowsOf(rooms, name, roomCells));
  if (Array.isArray(uplinks)) {
    fill('uplinks', rowsOf(uplinks, ({ name, camera }) => `${name} ${camera}`, uplinkCells));
    byId('uplinks-section').hidden = uplinks.length === 0;
  }
  if (Array.isArray(encoders)) {
    fill('encoders', trialRows(encoders));
    byId('encoders-section').hidden = encoders.length === 0;
  }
  // A new day makes other words of the same time.
  const told = JSON.stringify([happened, new Date().toDateString()]);
  if (Array.isArray(happened) && told !== events) {
    events = told;
    byId('events').replaceChildren(...happened.slice(0, EVENTS).map(eventItem));
  }
  if (version?.version) setText(byId('daemon'), `portald ${version.version}`);
}

/** What can be done here, and what it takes. */
async function learnAccess() {
  const told = /** @type {Access | undefined} */ (await getJson('api/access'));
  if (!told) return;
  hasEnded = !told.admin && (hasEnded || access.admin);
  access = told;
  byId('change').hidden = !access.admin;
  byId('login').hidden = !access.changes || access.admin;
  // A token in the address opens more than the cookies do.
  byId('metrics').hidden = !access.figures && !token;
  const hint = access.admin ? 'What is changed here lasts until portald starts again, or reads a changed file.'
    : hasEnded && access.changes ? 'The login as admin has ended. To change cameras, log in again.'
    : access.changes ? '' : 'To change cameras here, name an admin_token_file in [access] of portald.toml.';
  setText(byId('hint'), hint);
  byId('hint').hidden = hint === '';
}

for (const id of ['wall', 'metrics']) {
  const link = /** @type {HTMLAnchorElement} */ (byId(id));
  link.href = addressOf(link.getAttribute('href') ?? '').href;
}
const login = new URL('login', location.href);
login.searchParams.set('next', location.pathname);
/** @type {HTMLAnchorElement} */ (byId('login')).href = login.href;
await update();
setInterval(() => document.hidden || update(), EVERY);
