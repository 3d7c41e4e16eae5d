/**
 * A screen that nobody looks after (`?kiosk`): it stays on, hides the pointer, shows each camera in turn if asked
 * (`&cycle=SECONDS`), and loads itself anew when the daemon brought a new page.
 * @module
 */
import { addressOf, wanted } from './api.js';

/** So long (ms) after it moved the pointer is in the way. */
const POINTER = 3_000;
/** How often (ms) the daemon's version is looked at. */
const VERSION = 30_000;
/** Shorter than this (s) a picture cannot be looked at. */
const SHORTEST_CYCLE = 3;

/**
 * @param {{ show: (tile: import('./tile.js').Tile | undefined) => void, tiles: Map<string, import('./tile.js').Tile> }} wall
 */
export function start(wall) {
  document.documentElement.classList.add('kiosk');
  keepAwake();
  hidePointer();
  setInterval(followVersion, VERSION);
  followVersion();
  const seconds = Number(wanted.get('cycle') ?? 0);
  if (seconds > 0) setInterval(() => showNext(wall), Math.max(seconds, SHORTEST_CYCLE) * 1000);
}

/** Needs HTTPS or localhost; without it the screen's own settings must do. */
async function keepAwake() {
  const ask = async () => {
    if (document.hidden) return;
    await navigator.wakeLock?.request('screen').catch(() => {});
  };
  // The lock goes with the sight of the page.
  document.addEventListener('visibilitychange', ask);
  await ask();
}

function hidePointer() {
  const root = document.documentElement.classList;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const hide = () => root.add('still');
  addEventListener('pointermove', () => {
    root.remove('still');
    clearTimeout(timer);
    timer = setTimeout(hide, POINTER);
  });
  hide();
}

/** @type {string | undefined} */
let version;

async function followVersion() {
  try {
    const response = await fetch(addressOf('api/version'), { cache: 'no-store', signal: AbortSignal.timeout(4_000) });
    if (!response.ok) return;
    const { page } = await response.json();
    if (version !== undefined && page !== version) location.reload();
    version = page;
  } catch {
    // The daemon is away; perhaps it comes back as another.
  }
}

/** The next camera with a live picture, large. @param {Parameters<typeof start>[0]} wall */
function showNext(wall) {
  const live = [...wall.tiles.values()].filter((tile) => tile.phase === 'live');
  const at = live.findIndex((tile) => tile.element.classList.contains('large'));
  wall.show(live.length > 1 ? live[(at + 1) % live.length] : undefined);
}
