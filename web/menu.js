/**
 * What can be done with one tile: a menu by the ARIA practices (keys up, down, home, end, escape), and its statistics.
 * @module
 */
import { addressOf } from './api.js';
import { Figures } from './stats.js';

// Most who look at a wall never need it. Without it the menu would be there, but not be seen as one.
const sheet = Object.assign(document.createElement('link'), { rel: 'stylesheet', href: new URL('menu.css', import.meta.url).href });
await new Promise((resolve) => {
  sheet.onload = sheet.onerror = resolve;
  document.head.append(sheet);
});

/** How often statistics are shown anew (ms). */
const EVERY = 1_000;

/** @typedef {import('./tile.js').Tile} Tile */
/**
 * @typedef {{ label: string, act: () => void, href?: string, download?: string, checked?: boolean, group?: boolean }} Item
 */
/**
 * What the menu needs of the wall. `order`: the tile goes so many places further back, if there is where to go.
 * @typedef {{
 *   isLarge: (tile: Tile) => boolean,
 *   move: (tile: Tile, by: number) => void,
 *   hide: (tile: Tile) => void,
 *   only: string | null,
 * }} Wall
 */

/** The one that is open. @type {{ close: (focus: boolean) => void, tile: Tile } | undefined} */
let open;

/**
 * Opens the menu of `tile`, or closes it.
 * @param {Tile} tile
 * @param {Wall} wall
 */
export function toggle(tile, wall) {
  const was = open?.tile;
  open?.close(true);
  if (was !== tile) show(tile, wall);
}

/**
 * @param {Tile} tile
 * @param {Wall} wall
 */
function show(tile, wall) {
  const menu = Object.assign(document.createElement('div'), { className: 'menu' });
  menu.role = 'menu';
  menu.ariaLabel = tile.title;
  menu.append(...itemsOf(tile, wall).map((item) => entry(item, () => close(true))));
  const ending = new AbortController();
  const close = (/** @type {boolean} */ focus) => {
    ending.abort();
    menu.remove();
    tile.more.ariaExpanded = 'false';
    open = undefined;
    if (focus) tile.more.focus({ preventScroll: true });
  };
  open = { close, tile };
  tile.more.ariaExpanded = 'true';
  // Within the landmark that its tile is in.
  tile.element.closest('main')?.append(menu);
  place(menu, tile.more);
  menu.addEventListener('keydown', (event) => onKey(event, menu, close));
  const { signal } = ending;
  addEventListener('pointerdown', ({ target }) => {
    if (target instanceof Node && !menu.contains(target) && !tile.more.contains(target)) close(false);
  }, { signal, capture: true });
  addEventListener('resize', () => close(false), { signal });
  /** @type {HTMLElement | null} */ (menu.firstElementChild)?.focus();
}

/**
 * @param {Tile} tile
 * @param {Wall} wall
 * @returns {Item[]}
 */
function itemsOf(tile, wall) {
  const { video } = tile;
  /** @type {Item[]} */
  const items = [];
  if (tile.isCamera) {
    const url = addressOf(`cameras/${encodeURIComponent(tile.name)}/snapshot.jpg`);
    items.push({ label: 'Save a picture', act: () => {}, href: url.href, download: `${tile.name} ${stamp()}.jpg` });
  } else {
    items.push({ label: 'Save a picture', act: () => saveFrame(tile) });
  }
  items.push({ label: 'Statistics', act: () => toggleStatistics(tile), checked: statistics.has(tile) });
  if (tile.hasSound) {
    items.push({ label: 'Sound', act: () => { video.muted = !video.muted; }, checked: !video.muted });
  }
  if (document.pictureInPictureEnabled && tile.frames > 0) {
    const isOut = document.pictureInPictureElement === video;
    const act = () => void (isOut ? document.exitPictureInPicture() : takeOut(video)).catch(() => {});
    items.push({ label: 'In a window of its own', act, checked: isOut });
  }
  if (tile.isCamera) {
    const qualities = /** @type {const} */ ([['auto', 'Quality: as it fits'], ['main', 'Quality: full'], ['sub', 'Quality: small']]);
    for (const [quality, label] of qualities) {
      items.push({ label, act: () => { tile.wish = quality; }, checked: tile.wish === quality, group: true });
    }
  }
  if (wall.only === null && !wall.isLarge(tile)) {
    items.push({ label: 'Move forward', act: () => wall.move(tile, -1) });
    items.push({ label: 'Move back', act: () => wall.move(tile, 1) });
    // People come under another id each time, so there would be nobody to show again.
    if (tile.isCamera) items.push({ label: 'Hide on this device', act: () => wall.hide(tile) });
  }
  return items;
}

/**
 * Otherwise it is not allowed: Firefox would lay a button of its own for it over every picture, and take the clicks that land there.
 * @param {HTMLVideoElement} video
 */
function takeOut(video) {
  video.disablePictureInPicture = false;
  video.addEventListener('leavepictureinpicture', () => { video.disablePictureInPicture = true; }, { once: true });
  return video.requestPictureInPicture();
}

/**
 * @param {Item} item
 * @param {() => void} close
 */
function entry({ label, act, href, download, checked, group }, close) {
  const element = href
    ? Object.assign(document.createElement('a'), { href, download })
    : Object.assign(document.createElement('button'), { type: 'button' });
  element.role = checked === undefined ? 'menuitem' : group ? 'menuitemradio' : 'menuitemcheckbox';
  if (checked !== undefined) element.ariaChecked = String(checked);
  element.tabIndex = -1;
  element.textContent = label;
  element.addEventListener('click', () => {
    close();
    act();
  });
  return element;
}

/**
 * @param {KeyboardEvent} event
 * @param {HTMLElement} menu
 * @param {(focus: boolean) => void} close
 */
function onKey(event, menu, close) {
  const items = /** @type {HTMLElement[]} */ ([...menu.children]);
  const at = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
  event.stopPropagation();
  if (event.key === 'Escape' || event.key === 'Tab') close(true);
  if (event.key === ' ') items[at]?.click();
  if (to !== undefined) items.at(to % items.length)?.focus();
  if (to !== undefined || event.key === ' ' || event.key === 'Escape') event.preventDefault();
}

/**
 * Above or below the button, within the window.
 * @param {HTMLElement} menu
 * @param {HTMLElement} button
 */
function place(menu, button) {
  const box = button.getBoundingClientRect();
  const { offsetWidth, offsetHeight } = menu;
  const left = Math.min(Math.max(box.right - offsetWidth, 6), innerWidth - offsetWidth - 6);
  const below = box.bottom + 4;
  const top = below + offsetHeight <= innerHeight - 6 ? below : Math.max(6, box.top - offsetHeight - 4);
  menu.style.left = `${left}px`;
  menu.style.top = `${Math.min(top, Math.max(6, innerHeight - offsetHeight - 6))}px`;
}

/** @param {Tile} tile somebody's who is no camera: only this page has the picture */
function saveFrame({ video, title }) {
  const canvas = Object.assign(document.createElement('canvas'), { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext('2d')?.drawImage(video, 0, 0);
  canvas.toBlob((blob) => {
    if (!blob) return;
    const href = URL.createObjectURL(blob);
    Object.assign(document.createElement('a'), { href, download: `${title} ${stamp()}.jpg` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000);
  }, 'image/jpeg', 0.92);
}

/** The time for a file's name: no colons, which Windows has no place for. */
function stamp() {
  const now = new Date();
  return new Date(now.getTime() - now.getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replaceAll(':', '.').replace('T', ' ');
}

/** What is shown of whose connection. @type {Map<Tile, () => void>} */
const statistics = new Map();

/** @param {Tile} tile */
function toggleStatistics(tile) {
  const stop = statistics.get(tile);
  if (stop) return stop();
  // Small tiles have less room than it needs: it scrolls, with keys too.
  const list = Object.assign(document.createElement('dl'), { className: 'statistics', tabIndex: 0 });
  list.ariaLabel = `Statistics of ${tile.title}`;
  // On a small tile it lies over the button that makes it large.
  list.addEventListener('click', () => tile.element.classList.contains('large') || tile.button.click());
  tile.element.append(list);
  let figures = new Figures();
  let portal = tile.portal;
  const update = async () => {
    if (!tile.element.isConnected) return statistics.get(tile)?.();
    if (portal !== tile.portal) [portal, figures] = [tile.portal, new Figures()];
    const now = portal ? await portal.stats().then((report) => figures.read(report), () => ({})) : {};
    list.replaceChildren(...rows(tile, now).flatMap(row));
  };
  const timer = setInterval(update, EVERY);
  statistics.set(tile, () => {
    clearInterval(timer);
    list.remove();
    statistics.delete(tile);
  });
  update();
}

/**
 * @param {Tile} tile
 * @param {import('./stats.js').Reading} now
 * @returns {[string, string][]}
 */
function rows(tile, now) {
  const number = (/** @type {number | undefined} */ value, /** @type {string} */ unit, digits = 0) =>
    value === undefined || Number.isNaN(value) ? '–' : `${value.toFixed(digits)} ${unit}`;
  const made = tile.renditions.find(({ width, height, codec }) =>
    width === now.width && height === now.height && codec === now.codec);
  return [
    ['Size', now.width ? `${now.width} × ${now.height}` : '–'],
    ['Rate', number(now.fps, 'pictures/s', 1)],
    ['Bitrate', number(now.kbps, 'kbit/s')],
    ['Lost', number(now.lost, '%', 1)],
    ['Round trip', number(now.roundTrip, 'ms', 1)],
    ['Waits here', number(now.buffer, 'ms')],
    ['Latency', number(tile.phase === 'live' ? tile.latency : undefined, 'ms')],
    ['Freezes', now.freezes === undefined ? '–' : String(now.freezes)],
    ['Codec', [now.codec, now.decoder].filter(Boolean).join(', ') || '–'],
    ['Encoder', made?.encoder ?? '–'],
    .../** @type {[string, string][]} */ (tile.degraded ? [['Reduced', tile.degraded]] : []),
  ];
}

/** @param {[string, string]} texts */
function row([name, value]) {
  return [
    Object.assign(document.createElement('dt'), { textContent: name }),
    Object.assign(document.createElement('dd'), { textContent: value }),
  ];
}
