/**
 * What runs and what lately happened, for who looks after the box. Reads only.
 * @module
 */
import { addressOf, byId, getJson, setText } from './api.js';

/** How often (ms) it is asked anew. */
const EVERY = 2_000;
/** Events shown; more are in the journal. */
const EVENTS = 50;

/**
 * @typedef {{ name: string, codec: string, encoder: string, reason?: string | null, width: number, height: number,
 *   framerate: number, bitrate: number, running: boolean, viewers: number }} Rendition
 * @typedef {{ name: string, title: string, rooms: string[], state: string, reason?: string | null, since?: number,
 *   renditions?: Rendition[], viewers?: number, restarts?: number }} Camera
 * @typedef {{ name: string, mode: string, members: { kind: string }[] }} Room
 * @typedef {{ name: string, at: number, state: string, reason?: string | null }} Event
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

/** @param {string} state */
function stateOf(state) {
  const made = element('span', state);
  made.className = 'state';
  made.dataset.state = state;
  return made;
}

/** @param {Camera} camera */
function cameraRow({ name, title, rooms, state, reason, since, renditions = [], viewers = 0, restarts = 0 }) {
  const made = renditions.filter(({ running }) => running).map((one) =>
    element('small', `${one.name}: ${one.width} × ${one.height}, ${Math.round(one.framerate)}/s, ${one.bitrate} kbit/s, ${one.codec} by ${one.encoder}`
      + `, ${one.viewers} watch${one.reason ? ` (${one.reason})` : ''}`));
  const named = element('td', title);
  if (title !== name) named.append(element('small', name));
  const told = element('td', stateOf(state));
  if (reason) told.append(element('small', reason));
  if (since) told.append(element('small', `since ${clock(since)}`));
  return element('tr', named, told, element('td', rooms.join(', ')), element('td', String(viewers)),
    element('td', ...(made.length ? made : ['–'])), element('td', String(restarts)));
}

/** @param {Room} room */
function roomRow({ name, mode, members }) {
  const link = Object.assign(element('a', name), { href: wall(name) });
  const count = (/** @type {string} */ kind) => String(members.filter((member) => member.kind === kind).length);
  return element('tr', element('td', link), element('td', mode), element('td', count('camera')), element('td', count('peer')));
}

/** @param {Event} event */
function eventItem({ name, at, state, reason }) {
  const time = Object.assign(element('time', clock(at)), { dateTime: new Date(at).toISOString() });
  return element('li', time, element('strong', name), stateOf(state), element('small', reason ?? ''));
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

/** @type {Map<string, string>} */
const shown = new Map();

/**
 * Only what has changed is made anew: who selects text or reads with a screen reader is not disturbed.
 * @template T
 * @param {string} id
 * @param {unknown} list
 * @param {(one: T) => HTMLElement} make
 */
function fill(id, list, make) {
  if (!Array.isArray(list)) return;
  const text = JSON.stringify(list);
  if (shown.get(id) === text) return;
  shown.set(id, text);
  const rows = list.map(make);
  // Narrow screens have no place for the heads of columns: each cell brings its own.
  const heads = [...byId(id).closest('table')?.querySelectorAll('th') ?? []];
  for (const row of rows) heads.forEach((head, index) => /** @type {HTMLElement} */ (row.children[index]).dataset.head = head.textContent ?? '');
  byId(id).replaceChildren(...rows);
}

async function update() {
  const [cameras, rooms, events, version] = await Promise.all(
    ['api/cameras', 'api/rooms', 'api/events', 'api/version'].map((path) => getJson(path)));
  byId('link').hidden = Array.isArray(cameras);
  fill('cameras', cameras, cameraRow);
  fill('rooms', rooms, roomRow);
  fill('events', Array.isArray(events) ? events.slice(0, EVENTS) : undefined, eventItem);
  const { version: number } = /** @type {{ version?: string }} */ (version ?? {});
  if (number) setText(byId('daemon'), `portald ${number}`);
}

for (const id of ['wall', 'metrics']) {
  const link = /** @type {HTMLAnchorElement} */ (byId(id));
  link.href = addressOf(link.getAttribute('href') ?? '').href;
}
await update();
setInterval(() => document.hidden || update(), EVERY);
