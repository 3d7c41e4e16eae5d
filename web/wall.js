/**
 * The wall page: a tile for every camera of a room (`?room=`), or one camera alone (`?camera=`). `?token=` is for screens
 * without a keyboard: the password, or the room's token.
 *
 * For tests and the curious there is `window.portald = { gun, tiles, wall }`: the {@link PortalGun}; the tiles by member id
 * (a camera's is `!` + its name), each with `stats` (see tile.js) and `video`; and the wall itself.
 *
 * @module
 */
import { PortalGun } from './client.js';
import { bestGrid, commonAspect, gridLine } from './layout.js';
import { Tile } from './tile.js';

/** How often the tiles are held against the clock (ms): fine enough to tell a picture 2 s old. */
const TICK = 500;
/** How often the daemon is asked about its cameras (ms); they tell their viewers themselves, this is for the rest. */
const POLL = 5_000;
/** Longest wait for an answer of the API (ms). */
const API_LIMIT = 4_000;
/** So long (ms) a tile that was clicked gets the full picture whatever its size and link; then both are heeded. */
const SHARP = 3_000;
/** A link lost for less (ms) is nobody's business. */
const LINK_PATIENCE = 1_000;

/**
 * A camera as `/api/cameras` lists it.
 * @typedef {{ name: string, title: string, rooms: string[], state: string, reason?: string, since?: number,
 *   renditions?: { name: string, width: number, height: number }[] }} Camera
 */

/** @typedef {import('./portal.js').Portal} Portal */
/** @typedef {import('./portal.js').CameraState} CameraState */
/** Something to do: what to type or write, and what that does. @typedef {[string, string]} Step */

const byId = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

class Wall {
  /** By member id. @type {Map<string, Tile>} */
  tiles = new Map();
  /** The tile that is shown large. @type {Tile | undefined} */
  large = undefined;
  /** When it became the large one. */
  #enlargedAt = 0;
  /** What the server refused, until it takes us. @type {import('./client.js').PortalError | undefined} */
  #refusal;
  /** Whether we know what cameras there are. */
  #told = false;
  #lostSince = performance.now();
  #columns = 1;
  #grid = byId('grid');
  #template = /** @type {HTMLTemplateElement} */ (byId('tile'));

  /**
   * @param {string} room
   * @param {string | null} only the name of the one camera to show
   */
  constructor(room, only) {
    this.room = room;
    this.only = only;
    setText(byId('room'), only ?? room);
    document.title = `${only ?? room} · camera wall`;
    const path = document.querySelector('meta[name=portald-path]')?.getAttribute('content') ?? '/portal';
    this.gun = new PortalGun({
      room,
      url: new URL(path, location.href),
      token: token ?? undefined,
      accept: (member) => only === null || member.id === `!${only}`,
    });
    this.#followGun();
    this.#followPage();
    this.#poll();
    setInterval(() => this.#tick(), TICK);
    setInterval(() => document.hidden || this.#poll(), POLL);
  }

  #followGun() {
    const { gun } = this;
    gun.addEventListener('connection', (/** @type {Portal} */ portal) => {
      // A person has a tile once there is something to show; a camera has one always.
      if (portal.isCamera) this.#meet(portal);
      else portal.addEventListener('track', () => this.#introduce(portal));
      portal.addEventListener('state', (/** @type {CameraState} */ state) => this.#hear(portal.target.id, state));
    });
    gun.addEventListener('disconnection', (/** @type {Portal} */ portal) => {
      const tile = this.tiles.get(portal.target.id);
      tile?.detach();
      if (tile && !portal.isCamera) this.#remove(tile);
    });
    gun.addEventListener('info', () => {
      this.#refusal = undefined;
      this.#poll();
    });
    gun.addEventListener('state', (/** @type {string} */ state) => {
      this.#lostSince = state === 'open' ? 0 : this.#lostSince || performance.now();
      this.#tick();
    });
    gun.addEventListener('error', (/** @type {import('./client.js').PortalError} */ error) => {
      if (error.code === 'unauthorized') logIn(this.room);
      this.#refusal = error;
      this.#tick();
    });
  }

  #followPage() {
    new ResizeObserver(() => this.#arrange()).observe(byId('stage'));
    this.#grid.addEventListener('aspect', () => this.#arrange());
    document.addEventListener('keydown', (event) => this.#onKey(event));
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) return;
      for (const tile of this.tiles.values()) tile.watchAnew();
      this.#poll();
    });
    // A phone's "back" leaves the large picture, not the wall.
    addEventListener('popstate', () => this.#enlarge(this.tiles.get(history.state?.large)));
  }

  /** @param {Portal} portal */
  #meet(portal) {
    const tile = this.#tileOf(portal.target);
    tile.attach(portal);
    // All come at once; only when every tile is there its size is the one it will have.
    queueMicrotask(() => this.#ask(tile, performance.now()));
  }

  /** @param {Portal} portal */
  #introduce(portal) {
    const tile = this.#tileOf(portal.target);
    if (tile.portal !== portal) tile.attach(portal);
  }

  /**
   * @param {string} id
   * @param {CameraState} state
   */
  #hear(id, state) {
    const tile = this.tiles.get(id);
    if (!tile) return;
    tile.state = state;
    tile.toldAt = performance.now();
    this.#tick();
  }

  async #poll() {
    const asked = performance.now();
    const cameras = await getJson('api/cameras');
    if (!Array.isArray(cameras)) return;
    this.#told = true;
    const here = cameras.filter((camera) => this.#shows(camera));
    for (const camera of here) this.#describe(camera, asked);
    const known = new Set(here.map((camera) => `!${camera.name}`));
    for (const tile of [...this.tiles.values()]) {
      if (!known.has(tile.id) && !tile.portal) this.#remove(tile);
    }
    this.#sort(here);
    this.#tick();
  }

  /** @param {Camera} camera */
  #shows(camera) {
    return camera.rooms?.includes(this.room) && (this.only === null || this.only === camera.name);
  }

  /**
   * @param {Camera} camera
   * @param {number} asked when (performance.now()) the daemon was asked
   */
  #describe({ name, title, state, reason, since, renditions = [] }, asked) {
    const tile = this.#tileOf({ id: `!${name}`, title });
    tile.title = title;
    // The camera's own word is the newer one when it came while the answer was under way.
    if (asked > tile.toldAt) tile.state = { state, reason, since };
    const main = renditions.find((rendition) => rendition.name === 'main');
    if (main && tile.frames === 0 && main.height > 0) tile.aspect = main.width / main.height;
    if (this.only !== null) setText(byId('room'), title);
  }

  /**
   * The tile of a member; a new one if it has none yet.
   * @param {{ id: string, title?: string }} member
   */
  #tileOf({ id, title }) {
    let tile = this.tiles.get(id);
    if (tile) return tile;
    tile = new Tile(this.#template, id);
    tile.title = title ?? (id.startsWith('!') ? tile.name : 'Guest');
    this.tiles.set(id, tile);
    this.#furnish(tile);
    this.#grid.append(tile.element);
    if (this.only !== null || history.state?.large === id) this.#enlarge(tile);
    this.#arrange();
    return tile;
  }

  /** @param {Tile} tile */
  #furnish(tile) {
    const wall = new URL('./', location.href);
    wall.searchParams.set('room', this.room);
    if (token) wall.searchParams.set('token', token);
    tile.closer.href = wall.href;
    tile.button.addEventListener('click', () => (this.large === tile ? this.#back() : this.#open(tile)));
    tile.closer.addEventListener('click', (event) => {
      if (this.only !== null) return;
      event.preventDefault();
      this.#back();
    });
  }

  /** @param {Tile} tile */
  #remove(tile) {
    this.tiles.delete(tile.id);
    tile.remove();
    if (this.large === tile) this.#back();
    this.#arrange();
  }

  /**
   * Puts the tiles in the daemon's order, everybody else behind.
   * @param {Camera[]} cameras
   */
  #sort(cameras) {
    const rank = new Map(cameras.map((camera, index) => [`!${camera.name}`, index]));
    const before = [...this.tiles.values()];
    const sorted = before.toSorted((a, b) => (rank.get(a.id) ?? Infinity) - (rank.get(b.id) ?? Infinity) || 0);
    if (sorted.every((tile, index) => tile === before[index])) return;
    this.tiles.clear();
    for (const tile of sorted) this.tiles.set(tile.id, tile);
    // Moving a video about in the document pauses it, so only those out of place are moved, and all are started again.
    sorted.forEach((tile, index) => {
      const there = this.#grid.children[index];
      if (there !== tile.element) this.#grid.insertBefore(tile.element, there ?? null);
    });
    for (const tile of sorted) tile.watchAnew();
    this.#arrange();
  }

  /** @param {Tile} tile */
  #open(tile) {
    if (this.large) history.replaceState({ large: tile.id }, '');
    else history.pushState({ large: tile.id }, '');
    this.#enlarge(tile);
  }

  #back() {
    if (this.only !== null) return;
    if (history.state?.large) history.back();
    else this.#enlarge(undefined);
  }

  /**
   * Shows one tile large, or all of them.
   * @param {Tile | undefined} tile
   */
  #enlarge(tile) {
    const left = this.large;
    this.large = tile;
    this.#enlargedAt = performance.now();
    for (const other of this.tiles.values()) {
      other.element.classList.toggle('large', other === tile);
      other.closer.hidden = other !== tile;
      other.watchAnew();
    }
    this.#grid.classList.toggle('alone', this.only !== null);
    (tile ?? left)?.button.focus({ preventScroll: true });
    this.#tick();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.key === 'Escape' && this.large) return this.#back();
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.#columns, ArrowDown: this.#columns }[event.key];
    if (step === undefined || this.only !== null) return;
    event.preventDefault();
    const tiles = [...this.tiles.values()];
    const at = tiles.findIndex((tile) => tile.element.contains(document.activeElement));
    const next = tiles[at < 0 ? 0 : at + step];
    if (!next) return;
    if (this.large) this.#open(next);
    else next.button.focus();
  }

  /** Fits the grid to the stage. */
  #arrange() {
    const count = this.tiles.size;
    if (count === 0) return;
    const { width, height } = byId('stage').getBoundingClientRect();
    const gap = parseFloat(getComputedStyle(this.#grid).columnGap);
    const tiles = [...this.tiles.values()];
    const grid = bestGrid(count, width, height, commonAspect(tiles.map((tile) => tile.aspect)), gap);
    this.#columns = grid.columns;
    this.#grid.classList.toggle('scrolls', grid.scrolls);
    this.#grid.style.gridTemplateColumns = `repeat(${2 * grid.columns}, ${(grid.tileWidth - gap) / 2}px)`;
    this.#grid.style.gridAutoRows = `${grid.tileHeight}px`;
    tiles.forEach((tile, index) => {
      tile.element.style.gridColumnStart = String(gridLine(index, count, grid.columns) ?? 'auto');
    });
  }

  #tick() {
    const now = performance.now();
    for (const tile of this.tiles.values()) {
      const before = tile.phase;
      tile.update(now, this.#isSeen(tile));
      if (tile.phase !== before && before !== 'waiting') this.#say(tile);
      this.#ask(tile, now);
    }
    this.#summarise(now);
    this.#advise();
  }

  /** @param {Tile} tile */
  #say(tile) {
    setText(byId('said'), tile.button.ariaLabel ?? '');
  }

  /** @param {Tile} tile */
  #isSeen(tile) {
    return !document.hidden && (!this.large || this.large === tile);
  }

  /**
   * Tells the camera what suits its tile. Whoever clicks on one wants it sharp at once; the rest follows from the size.
   * @param {Tile} tile
   * @param {number} now performance.now()
   */
  #ask(tile, now) {
    if (this.gun.state !== 'open') return;
    const clicked = tile === this.large && now - this.#enlargedAt < SHARP;
    tile.ask(this.gun.signaler, clicked ? 'main' : 'auto', this.#isSeen(tile), now);
  }

  /** @param {number} now */
  #summarise(now) {
    const cameras = [...this.tiles.values()].filter((tile) => tile.id.startsWith('!'));
    const live = cameras.filter((tile) => tile.phase === 'live').length;
    const all = cameras.length;
    setText(byId('summary'), this.only !== null || all === 0 ? '' : live === all ? `${all} live` : `${live} of ${all} live`);
    const lost = this.#lostSince > 0 && now - this.#lostSince > LINK_PATIENCE;
    byId('link').hidden = !lost || this.#refusal !== undefined;
    if (lost) setText(byId('link'), live > 0 ? 'Reconnecting to the server; pictures go on' : 'Server not reached, trying again');
  }

  /** What to do when there is nothing to show. */
  #advise() {
    const isRefused = /^(room_|too_many_attempts)/.test(this.#refusal?.code ?? '');
    const advice = this.tiles.size > 0 && !isRefused ? undefined : this.#advice();
    byId('notice').hidden = advice === undefined;
    this.#grid.hidden = advice !== undefined;
    if (!advice) return;
    setText(byId('notice-title'), advice.title);
    setText(byId('notice-text'), advice.text);
    const list = byId('notice-steps');
    if (list.textContent !== advice.steps.flat().join('')) list.replaceChildren(...advice.steps.map(stepItem));
  }

  /** @returns {{ title: string, text: string, steps: Step[] } | undefined} */
  #advice() {
    const refusal = this.#refusal?.code;
    if (refusal === 'room_full') {
      return { title: 'This room is full', text: 'As many are watching as the server allows. It is tried again.', steps: [] };
    }
    if (refusal === 'too_many_attempts') {
      return { title: 'Too many wrong passwords', text: 'They came from your address. It is tried again.', steps: [] };
    }
    if (refusal?.startsWith('room_')) {
      return {
        title: `There is no room “${this.room}” here`,
        text: 'Choose another at the top, or add it to portald.toml:',
        steps: [[`[room.${this.room}]`, '']],
      };
    }
    if (!this.#told) {
      return this.#lostSince > 0 && performance.now() - this.#lostSince > LINK_PATIENCE
        ? { title: 'The server cannot be reached', text: 'The wall appears as soon as it answers.', steps: [] }
        : undefined;
    }
    if (this.only !== null) {
      return {
        title: `There is no camera “${this.only}” in this room`,
        text: 'Cameras are named in portald.toml, as [camera.NAME].',
        steps: [['portald devices', 'lists what is plugged in']],
      };
    }
    return {
      title: 'No camera yet',
      text: 'Plug a camera into this box and start portald again, or name one in its configuration. On the box:',
      steps: [
        ['portald devices', 'lists the cameras that were found'],
        ['portald run --demo', 'shows two test cameras'],
        ['portald.toml', 'names cameras in [camera.NAME] tables'],
      ],
    };
  }
}

/**
 * @param {HTMLElement} element
 * @param {string} text
 */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {Step} step */
function stepItem([code, text]) {
  const item = document.createElement('li');
  item.append(Object.assign(document.createElement('code'), { textContent: code }), text);
  return item;
}

/**
 * @param {string} path of the daemon's API
 * @returns {Promise<unknown>} undefined when there is no answer
 */
async function getJson(path) {
  try {
    const url = new URL(path, location.href);
    if (token) url.searchParams.set('token', token);
    const response = await fetch(url, { signal: AbortSignal.timeout(API_LIMIT), cache: 'no-store' });
    if (response.status === 401) logIn(wanted.get('room'));
    return response.ok ? await response.json() : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Leaves for the login page, which comes back here. Without the token, which did not help.
 * @param {string | null} room the room that is to be opened
 */
function logIn(room) {
  const here = new URL(location.href);
  here.searchParams.delete('token');
  const login = new URL('login', location.href);
  if (room) login.searchParams.set('room', room);
  login.searchParams.set('next', here.pathname + here.search);
  location.replace(login);
}

/**
 * The room of a page that names none: `home`, as in the default config, else one with a camera, else any.
 * @param {{ name: string, members?: { kind: string }[] }[]} rooms
 */
function defaultRoom(rooms) {
  const isHome = (/** @type {{ name: string }} */ { name }) => name === 'home';
  const hasCamera = (/** @type {typeof rooms[number]} */ { members }) => members?.some(({ kind }) => kind === 'camera');
  return (rooms.find(isHome) ?? rooms.find(hasCamera) ?? rooms[0])?.name ?? 'home';
}

/** @param {string} current the room shown */
async function showRooms(current) {
  const rooms = /** @type {{ name: string }[]} */ (await roomsAnswer) ?? [];
  if (rooms.length < 2) return;
  const links = rooms.map(({ name }) => {
    const query = new URLSearchParams(token ? { room: name, token } : { room: name });
    const link = Object.assign(document.createElement('a'), { textContent: name, href: `?${query}` });
    if (name === current) link.ariaCurrent = 'page';
    return link;
  });
  byId('rooms').replaceChildren(...links);
}

const wanted = new URLSearchParams(location.search);
const token = wanted.get('token');
const roomsAnswer = getJson('api/rooms').then((rooms) => (Array.isArray(rooms) ? rooms : []));
const room = wanted.get('room') ?? defaultRoom(await roomsAnswer);
const wall = new Wall(room, wanted.get('camera'));
Object.assign(window, { portald: { gun: wall.gun, tiles: wall.tiles, wall } });
showRooms(room);
