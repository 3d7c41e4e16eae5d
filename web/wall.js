/**
 * The wall page: a tile for every camera of a room (`?room=`), or one camera alone (`?camera=`). `?token=` is for screens
 * without a keyboard: the password, or the room's token; `?kiosk` for screens that nobody looks after (see kiosk.js).
 *
 * For tests and the curious there is `window.portald = { gun, tiles, wall }`: the {@link PortalGun}; the tiles by member id
 * (a camera's is `!` + its name), each with `stats` (see tile.js) and `video`; and the wall itself.
 *
 * @module
 */
import { advice, show } from './advice.js';
import { byId, getJson, logIn, setText, token, wanted } from './api.js';
import { PortalGun } from './client.js';
import { arrange, place } from './grid.js';
import { defaultRoom, fullScreen, learnRooms, offerToPublish, showRooms } from './header.js';
import { onKey } from './keys.js';
import { Memory } from './memory.js';
import { followPeople } from './people.js';
import { Tile } from './tile.js';

/** How often the tiles are held against the clock (ms): fine enough to tell a picture 2 s old. */
const TICK = 500;
/** How often the daemon is asked about its cameras (ms); they tell their viewers themselves, this is for the rest. */
const POLL = 5_000;
/** So long (ms) a tile that was clicked gets the full picture whatever its size and link; then both are heeded. */
const SHARP = 3_000;
/** So long (ms) after a tap on a tile a second one belongs to it. */
const DOUBLE_TAP = 350;
/** What only some need is fetched so long (ms) after the start, when the pictures are there. */
const SOON = 5_000;
/** A link lost for less (ms) is nobody's business. */
const LINK_PATIENCE = 1_000;

/**
 * A camera as `/api/cameras` lists it.
 * @typedef {{ name: string, title: string, rooms: string[], state: string, reason?: string, since?: number, seen?: number | null,
 *   renditions?: import('./tile.js').Rendition[] }} Camera
 */

/** @typedef {import('./client.js').Portal} Portal */
/** @typedef {import('./client.js').CameraState} CameraState */

class Wall {
  /** By member id. @type {Map<string, Tile>} */
  tiles = new Map();
  /** The tile that is shown large. @type {Tile | undefined} */
  large = undefined;
  /** When it became the large one. */
  #enlargedAt = 0;
  /** When a pointer last made a tile large or small. */
  #tappedAt = -Infinity;
  /** On the way to the page's state of before. */
  #goesBack = false;
  /** What was chosen meanwhile. @type {Tile | undefined} */
  #next;
  /** @type {import('./zoom.js').Zoom | undefined} */
  #zoom;
  /** What the server refused, until it takes us. @type {import('./client.js').PortalError | undefined} */
  #refusal;
  /** Whether we know what cameras there are. */
  #told = false;
  #lostSince = performance.now();
  #columns = 1;
  /** Cameras of this room that are not shown because somebody chose so. */
  #hidden = 0;
  #grid = byId('grid');
  #template = /** @type {HTMLTemplateElement} */ (byId('tile'));

  /**
   * @param {string} room
   * @param {string | null} only the name of the one camera to show
   */
  constructor(room, only) {
    this.room = room;
    this.only = only;
    this.memory = new Memory(room);
    setText(byId('room'), only ?? room);
    document.title = `${only ?? room} · camera wall`;
    const path = document.querySelector('meta[name=portald-path]')?.getAttribute('content') ?? '/portal';
    this.gun = new PortalGun({
      room,
      url: new URL(path, location.href),
      token: token ?? undefined,
      accept: ({ id }) => (only === null ? !this.memory.isHidden(id) : id === `!${only}`),
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
      if (portal.isCamera) this.#meet(portal);
      portal.addEventListener('state', (/** @type {CameraState} */ state) => this.#hear(portal.target.id, state));
    });
    gun.addEventListener('disconnection', (/** @type {Portal} */ portal) => this.tiles.get(portal.target.id)?.detach());
    followPeople(gun, this.tiles, { tileOf: (member) => this.#tileOf(member), remove: (tile) => this.#remove(tile) });
    gun.addEventListener('info', () => {
      this.#refusal = undefined;
      this.#poll();
    });
    gun.addEventListener('state', (/** @type {string} */ state) => {
      this.#lostSince = state === 'open' ? 0 : this.#lostSince || performance.now();
      // What was said into a socket that was dead already is lost.
      if (state === 'open') for (const tile of this.tiles.values()) tile.tellAnew();
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
    document.addEventListener('keydown', (event) => onKey(event, this.#keys));
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) return;
      for (const tile of this.tiles.values()) tile.watchAnew();
      this.#tick();
      this.#poll();
    });
    // A phone's "back" leaves the large picture, not the wall.
    addEventListener('popstate', () => {
      const next = this.#next && this.tiles.get(this.#next.id);
      this.#goesBack = false;
      this.#next = undefined;
      this.#enlarge(this.tiles.get(history.state?.large));
      if (next) this.#open(next);
    });
    byId('unhide').addEventListener('click', () => {
      this.memory.showAll();
      this.gun.reconsider();
      this.#poll();
    });
    byId('full').hidden = !document.fullscreenEnabled;
    byId('full').addEventListener('click', fullScreen);
  }

  /**
   * Shows one tile large, or all, without a place in the history: for what happens by itself.
   * @param {Tile | undefined} tile
   */
  show(tile) {
    if (this.only === null) this.#enlarge(tile);
  }

  /** @param {Portal} portal */
  #meet(portal) {
    const tile = this.#tileOf(portal.target);
    tile.attach(portal);
    // All come at once; only when every tile is there its size is the one it will have.
    queueMicrotask(() => this.#ask(tile, performance.now()));
  }

  /**
   * @param {string} id
   * @param {CameraState} state
   */
  #hear(id, state) {
    const tile = this.tiles.get(id);
    if (!tile) return;
    const { since, seen } = tile.state.state === state.state ? tile.state : { since: Date.now(), seen: undefined };
    tile.state = { since, seen, ...state };
    tile.toldAt = performance.now();
    this.#tick();
  }

  async #poll() {
    const asked = performance.now();
    const cameras = await getJson('api/cameras');
    if (!Array.isArray(cameras)) return;
    this.#told = true;
    const all = cameras.filter((camera) => this.#shows(camera));
    this.#countHidden(all);
    const here = all.filter(({ name }) => !this.#isHidden(`!${name}`));
    for (const camera of here) this.#describe(camera, asked);
    const known = new Set(here.map((camera) => `!${camera.name}`));
    for (const tile of [...this.tiles.values()]) {
      if (this.#isHidden(tile.id) || (!known.has(tile.id) && !tile.portal)) this.#remove(tile);
    }
    this.#sort(here.map(({ name }) => `!${name}`));
    this.#tick();
  }

  /** @param {string} id */
  #isHidden(id) {
    return this.only === null && this.memory.isHidden(id);
  }

  /** @param {Camera[]} cameras */
  #countHidden(cameras) {
    this.#hidden = this.only === null ? this.memory.hiddenOf(cameras.map(({ name }) => `!${name}`)) : 0;
    const button = byId('unhide');
    button.hidden = this.#hidden === 0;
    setText(button, `Show ${this.#hidden} hidden`);
  }

  /** @param {Camera} camera */
  #shows(camera) {
    return camera.rooms?.includes(this.room) && (this.only === null || this.only === camera.name);
  }

  /**
   * @param {Camera} camera
   * @param {number} asked when (performance.now()) the daemon was asked
   */
  #describe({ name, title, state, reason, since, seen, renditions = [] }, asked) {
    const tile = this.#tileOf({ id: `!${name}`, title });
    tile.title = title;
    // The camera's own word is the newer one when it came while the answer was under way.
    if (asked > tile.toldAt) tile.state = { state, reason, since, seen };
    tile.renditions = renditions;
    const main = renditions.find((rendition) => rendition.name === 'main');
    if (main && tile.frames === 0 && main.height > 0) tile.expect(main.width / main.height);
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
    tile.title = title ?? tile.name;
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
    tile.button.addEventListener('click', ({ detail, timeStamp }) => {
      if (detail > 0) {
        // The second half of a double tap, which must not undo the first. Measured by when the taps were made, because a busy
        // tablet handles them late. A key's click counts none.
        if (timeStamp - this.#tappedAt < DOUBLE_TAP) return;
        this.#tappedAt = timeStamp;
      }
      if (this.large === tile) this.#back();
      else this.#open(tile);
    });
    tile.more.addEventListener('click', () => import('./menu.js').then(({ toggle }) => toggle(tile, this.#menu)));
    tile.closer.addEventListener('click', (event) => {
      if (this.only !== null) return;
      event.preventDefault();
      this.#back();
    });
  }

  /** What a tile's menu can do here. @type {import('./menu.js').Wall} */
  #menu = {
    isLarge: (tile) => this.large === tile,
    move: (tile, by) => {
      if (this.memory.move(tile.id, by, [...this.tiles.keys()])) this.#sort([...this.tiles.keys()]);
    },
    hide: (tile) => {
      this.memory.hide(tile.id);
      this.gun.reconsider();
      this.#poll();
    },
    only: wanted.get('camera'),
  };

  /** What keys can do here. @type {import('./keys.js').Wall} */
  #keys = {
    large: () => this.large,
    zoom: () => this.#zoom,
    tiles: () => (this.only === null ? [...this.tiles.values()] : []),
    columns: () => this.#columns,
    open: (tile) => this.#open(tile),
    back: () => this.#back(),
  };

  /** @param {Tile} tile */
  #remove(tile) {
    this.tiles.delete(tile.id);
    tile.remove();
    if (this.large === tile) this.#back();
    this.#arrange();
  }

  /**
   * Puts the tiles in the order that this device remembers, else the daemon's, everybody else behind.
   * @param {string[]} ids of the daemon's cameras, in its order
   */
  #sort(ids) {
    const before = [...this.tiles.values()];
    const known = [...ids, ...before.map((tile) => tile.id).filter((id) => !ids.includes(id))];
    const sorted = this.memory.sorted(known).flatMap((id) => this.tiles.get(id) ?? []);
    if (sorted.every((tile, index) => tile === before[index])) return;
    this.tiles.clear();
    for (const tile of sorted) this.tiles.set(tile.id, tile);
    place(this.#grid, sorted);
    this.#arrange();
  }

  /** @param {Tile} tile */
  #open(tile) {
    if (this.#goesBack) {
      this.#next = tile;
      return;
    }
    // What an unattended screen shows by itself has no entry of its own, and none behind it to go back to.
    if (history.state?.large) history.replaceState({ large: tile.id }, '');
    else history.pushState({ large: tile.id }, '');
    this.#enlarge(tile);
  }

  #back() {
    if (this.only !== null) return;
    if (!history.state?.large) return this.#enlarge(undefined);
    this.#next = undefined;
    // It takes a moment, and a second step would leave the wall.
    if (!this.#goesBack) history.back();
    this.#goesBack = true;
  }

  /**
   * Shows one tile large, or all of them.
   * @param {Tile | undefined} tile
   */
  #enlarge(tile) {
    const left = this.large;
    const before = new Set([...this.tiles.values()].filter((other) => this.#isSeen(other)));
    this.large = tile;
    this.#enlargedAt = performance.now();
    this.#zoom?.close();
    this.#zoom = undefined;
    if (tile) {
      import('./zoom.js').then(({ Zoom }) => {
        if (this.large === tile && !this.#zoom) this.#zoom = new Zoom(tile.button, [tile.video, tile.still]);
      });
    }
    for (const other of this.tiles.values()) {
      other.element.classList.toggle('large', other === tile);
      other.closer.hidden = other !== tile;
      if (before.has(other)) other.resume();
      else other.watchAnew();
    }
    this.#grid.classList.toggle('alone', this.only !== null);
    (tile ?? left)?.button.focus({ preventScroll: true });
    this.#tick();
  }

  /** Fits the grid to the stage. */
  #arrange() {
    if (this.tiles.size > 0) this.#columns = arrange(this.#grid, byId('stage'), [...this.tiles.values()]);
  }

  #tick() {
    const now = performance.now();
    for (const tile of this.tiles.values()) {
      const before = tile.phase;
      tile.update(now, this.#isSeen(tile), this.gun.state === 'open');
      if (tile.phase !== before && before !== 'waiting') setText(byId('said'), tile.button.ariaLabel ?? '');
      this.#ask(tile, now);
    }
    this.#summarise(now);
    this.#advise();
  }

  /** @param {Tile} tile */
  #isSeen(tile) {
    if (document.pictureInPictureElement === tile.video) return true;
    return !document.hidden && tile.isOnScreen && (!this.large || this.large === tile);
  }

  /**
   * Tells the camera what suits its tile. Whoever clicks on one wants it sharp at once; the rest follows from the size.
   * @param {Tile} tile
   * @param {number} now performance.now()
   */
  #ask(tile, now) {
    if (this.gun.state !== 'open') return;
    const clicked = tile === this.large && now - this.#enlargedAt < SHARP;
    tile.ask(this.gun.signaler, clicked ? 'main' : tile.wish, this.#isSeen(tile), now);
  }

  /** @param {number} now */
  #summarise(now) {
    const cameras = [...this.tiles.values()].filter((tile) => tile.id.startsWith('!'));
    const live = cameras.filter((tile) => tile.phase === 'live').length;
    const all = cameras.length;
    setText(byId('summary'), this.only !== null || all === 0 ? '' : live === all ? `${all} live` : `${live} of ${all} live`);
    const lost = this.#lostSince > 0 && now - this.#lostSince > LINK_PATIENCE;
    byId('link').hidden = !lost || this.#refusal !== undefined;
    if (lost) setText(byId('link'), live > 0 ? 'Reconnecting to the server; pictures go on'
      : cameras.some((tile) => tile.phase === 'stills') ? 'No WebSocket to the server, trying again' : 'Server not reached, trying again');
  }

  /** What to do when there is nothing to show. */
  #advise() {
    const isRefused = /^(room_|too_many_attempts)/.test(this.#refusal?.code ?? '');
    const { room, only } = this;
    const lost = this.#lostSince > 0 && performance.now() - this.#lostSince > LINK_PATIENCE;
    const what = this.tiles.size > 0 && !isRefused
      ? undefined
      : advice({ room, only, refusal: this.#refusal?.code, told: this.#told, lost, hidden: this.#hidden });
    this.#grid.hidden = what !== undefined;
    show(what);
  }
}

const rooms = learnRooms();
const room = wanted.get('room') ?? defaultRoom(await rooms);
const wall = new Wall(room, wanted.get('camera'));
Object.assign(window, { portald: { gun: wall.gun, tiles: wall.tiles, wall } });
rooms.then((all) => {
  showRooms(all, room);
  offerToPublish(wall, all);
});
// Who first opens a menu while the daemon is away must not be left without: Chromium asks only once for a module that it imports.
setTimeout(() => Promise.all([import('./menu.js'), import('./zoom.js')]).catch(() => {}), SOON);
if (wanted.has('kiosk')) (await import('./kiosk.js')).start(wall);
document.documentElement.dataset.whole = ''; // For whole.js.
