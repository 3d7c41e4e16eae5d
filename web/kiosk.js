/**
 * A screen that nobody looks after (`?kiosk`): it stays on, hides the pointer, shows each camera in turn if asked
 * (`&cycle=SECONDS`), and loads itself anew when the daemon brought a new page.
 * @module
 */
import { addressOf, byId, wanted } from './api.js';

/** So long (ms) after it moved the pointer is in the way. */
const POINTER = 3_000;
/** How often (ms) it is looked whether the screen is kept on. */
const AWAKE = 60_000;
/** How often (ms) the daemon's version is looked at. */
const VERSION = 30_000;
/** Longest wait (ms) for an answer. */
const ANSWER = 4_000;
/** Shorter than this (s) a picture cannot be looked at. */
const SHORTEST_CYCLE = 3;

/**
 * @param {{
 *   show: (tile: import('./tile.js').Tile | undefined) => void,
 *   tiles: Map<string, import('./tile.js').Tile>,
 *   gun: import('./client.js').PortalGun,
 * }} wall
 */
export function start(wall) {
  document.documentElement.classList.add('kiosk');
  // Who listens to the page keeps its heading.
  byId('room').parentElement?.classList.add('unseen');
  keepAwake();
  hidePointer();
  setInterval(followVersion, VERSION);
  // A daemon that was upgraded was away for a moment.
  wall.gun.addEventListener('state', (state) => state === 'open' && followVersion());
  followVersion();
  const seconds = Number(wanted.get('cycle') ?? 0);
  if (seconds > 0) setInterval(() => showNext(wall), Math.max(seconds, SHORTEST_CYCLE) * 1000);
}

/** Needs HTTPS or localhost; without it the screen's own settings must do. */
function keepAwake() {
  /** @type {WakeLockSentinel | undefined} */
  let lock;
  const ask = async () => {
    if (document.hidden || (lock && !lock.released)) return;
    lock = await navigator.wakeLock?.request('screen').catch(() => undefined);
  };
  // The lock goes with the sight of the page.
  document.addEventListener('visibilitychange', ask);
  // Where a low battery took it, or the browser had other reasons, it may be had later.
  setInterval(ask, AWAKE);
  ask();
}

function hidePointer() {
  const root = document.documentElement.classList;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const hide = () => root.add('at-rest');
  addEventListener('pointermove', () => {
    root.remove('at-rest');
    clearTimeout(timer);
    timer = setTimeout(hide, POINTER);
  });
  hide();
}

/** @type {string | undefined} */
let version;

async function followVersion() {
  try {
    const response = await ask(addressOf('api/version'));
    if (!response.ok) return;
    const { page } = await response.json();
    version ??= page;
    // A daemon that has just come back may have an error in the page's place, and nobody is there to load it again.
    if (page !== version && (await ask(location.href)).ok) location.reload();
  } catch {
    // The daemon is away; perhaps it comes back as another.
  }
}

/** @param {string | URL} address */
function ask(address) {
  return fetch(address, { cache: 'no-store', signal: AbortSignal.timeout(ANSWER) });
}

/** The next camera that has a picture, large. @param {Parameters<typeof start>[0]} wall */
function showNext(wall) {
  // Not by what the tiles show: those that are not to be seen beside a large one are not looked at.
  const all = [...wall.tiles.values()];
  const at = all.findIndex((tile) => tile.element.classList.contains('large'));
  const next = [...all.slice(at + 1), ...all.slice(0, at + 1)].filter((tile) => !tile.isDown);
  wall.show(next.length > 1 ? next[0] : undefined);
}
