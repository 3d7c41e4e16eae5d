/**
 * The way to a portals server: a WebSocket that comes back, and the seat in the room that it comes back to.
 * @module
 */
import { Emitter } from './emitter.js';

/** How often the socket is proved alive. The server calls a client silent after 6 s. */
const PING_EVERY = 5_000;
/** How long an answer to a ping may take. Even a phone on bad Wi-Fi answers in 1 s. */
const PONG_LIMIT = 4_000;
/** The same when there is reason for doubt: after a sleep, a change of network, or when pictures stop. */
const PONG_LIMIT_AWAKE = 1_500;
/** How often there may be reason for doubt. */
const CHECK_EVERY = 3_000;
/** The clock is looked at so often, and a jump of more than that was a sleep: of the page or of the machine. */
const BEAT = 1_000;
const SLEPT = 4_000;
/** How long opening a socket may take: the kernel would try for minutes. */
const OPEN_LIMIT = 5_000;
/** First wait before a new socket, doubled each time: most losses are a restart or a hiccup. */
const RETRY_FIRST = 300;
/** Longest wait: a LAN server can take it, and people stand before the screen. */
const RETRY_CAP = 3_000;
/** Longest wait when the server refused us (no such room, a wrong token): it will not change its mind soon. */
const REFUSED_CAP = 10_000;
/** A socket that lived this long was a good one: the next loss is retried fast again. */
const GOOD_SOCKET = 5_000;
/** An application's messages that wait for the socket; the oldest go first, as it is the newest that still matter. */
const OUTBOX = 64;
/** Codes our sockets are closed with: whether our seat is to be kept for us. */
const LEAVING = 1000;
const COMING_BACK = 4000;

/**
 * A member as the roster lists it; a reference server sends only `id` and `polite`.
 * @typedef {{ id: string, polite: boolean, kind?: 'camera' | 'peer', title?: string, session?: number }} Member
 */
/**
 * Who we are and whom we see. `key` comes with a new seat only.
 * @typedef {{ id: string, members: Member[], key?: string }} Info
 */
/**
 * `connecting`: a socket is being opened · `open`: seated in the room · `waiting`: until the next try · `closed`: for good.
 * @typedef {'connecting' | 'open' | 'waiting' | 'closed'} LinkState
 */
/**
 * A message format of your own, for a server that has one.
 * @typedef {{
 *   composeMessage?: (type: string, payload: unknown, target?: string) => string,
 *   parseMessage?: (text: string) => { type: string, payload: any, from?: string },
 * }} Format
 */

/**
 * The socket to the signalling server, opened again whenever it is lost, and our seat in the room.
 * Emits every message from the wire under its type: `(payload, from)`; applications may use types of their own.
 */
export class SignalingChannel extends Emitter {
  /** @type {WebSocket | undefined} */
  #socket;
  /** What gives us our seat back: our id, and the key if the server has given us one. @type {Record<string, string>} */
  #seat = {};
  #seatedAt = 0;
  #attempts = 0;
  #refused = false;
  #pings = 0;
  /** When the answer to a ping is due, while one is. */
  #pongBy = Infinity;
  #checkedAt = -Infinity;
  /** @type {Record<'open' | 'retry' | 'ping' | 'pong', ReturnType<typeof setTimeout> | undefined>} */
  #timers = { open: undefined, retry: undefined, ping: undefined, pong: undefined };
  #closing = new AbortController();
  #options;
  /** @type {[string, unknown, string | undefined][]} */
  #outbox = [];

  /**
   * @param {string | URL | ({ url: string | URL, room: string } & Format)} where the server's `path` with `?room=`, or
   *   both apart with the options, as the portals library has it
   * @param {Format & { onState?: (state: LinkState, why?: string) => void, onWake?: () => void }} [more] `onState` is
   *   told of every change of the link, `onWake` when the page has slept or the network has changed; no events, for
   *   their names could be some message's type
   */
  constructor(where, more = {}) {
    super();
    const apart = typeof where === 'object' && !(where instanceof URL);
    const options = apart ? { ...where, ...more } : more;
    this.url = new URL(apart ? where.url : where);
    if (apart) this.url.searchParams.set('room', where.room);
    this.url.protocol = this.url.protocol.replace(/^http/, 'ws');
    this.#options = { composeMessage, parseMessage, onState: () => {}, onWake: () => {}, ...options };
    this.#watchPage();
    this.#open();
  }

  /**
   * Sends a message to the server, or through it to `target`; if there is no way now, as soon as we are seated again, or
   * never where 64 later ones wait too.
   * @param {string} type
   * @param {unknown} payload
   * @param {string} [target] a member's id
   * @returns {boolean} whether it could be sent at once
   */
  send(type, payload = {}, target) {
    if (this.trySend(type, payload, target)) return true;
    if (this.#outbox.push([type, payload, target]) > OUTBOX) this.#outbox.shift();
    return false;
  }

  /**
   * Sends a message now or not at all.
   * @param {string} type
   * @param {unknown} payload
   * @param {string} [target] a member's id
   * @returns {boolean} whether there was a socket to send it on
   */
  trySend(type, payload, target) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(this.#options.composeMessage(type, payload, target));
    return true;
  }

  /** Proves now whether the socket is alive, for whoever has reason to doubt it; one that is not is opened again. */
  check() {
    const now = performance.now();
    if (now - this.#checkedAt < CHECK_EVERY) return;
    this.#checkedAt = now;
    this.#ping(PONG_LIMIT_AWAKE);
  }

  /** Loses the socket as a network would, and comes back for the seat; for tests and "try now" buttons. */
  reconnect() {
    this.#drop('asked to');
  }

  /** Leaves the room for good. */
  close() {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    this.#release(LEAVING);
    this.#options.onState('closed');
  }

  #open() {
    this.#release(COMING_BACK);
    const url = new URL(this.url);
    url.searchParams.set('sessions', '1');
    for (const [name, value] of Object.entries(this.#seat)) url.searchParams.set(name, value);
    this.#options.onState('connecting');
    const socket = new WebSocket(url);
    this.#socket = socket;
    // A socket we have let go must not speak any more: its late events would hit its successor.
    const ours = (/** @type {Function} */ act) => (/** @type {any} */ event) => socket === this.#socket && act(event);
    socket.onopen = ours(() => this.#onOpen());
    socket.onmessage = ours((/** @type {MessageEvent} */ event) => this.#onMessage(event.data));
    socket.onclose = ours((/** @type {CloseEvent} */ event) => this.#drop(`closed: ${event.reason || event.code}`));
    // A server that opens sockets and seats nobody may answer pings for ever.
    this.#timers.open = setTimeout(() => this.#drop('no seat in time'), OPEN_LIMIT);
  }

  #onOpen() {
    this.#timers.ping = setInterval(() => this.#ping(PONG_LIMIT), PING_EVERY);
  }

  /** @param {unknown} text */
  #onMessage(text) {
    clearTimeout(this.#timers.pong);
    this.#pongBy = Infinity;
    let message;
    try {
      message = this.#options.parseMessage(String(text));
    } catch {
      return; // Not of our protocol; what it means is unknowable, and the next one may be fine.
    }
    const { type, payload, from } = message ?? {};
    if (typeof type !== 'string' || type === 'pong') return;
    // A reference server relays any type, so a member could pretend to be the server.
    if ((type === 'info' || type === 'error') && from !== undefined) return;
    if (type === 'info' && typeof payload?.id === 'string') this.#take(payload);
    if (type === 'error') this.#refused = /^(room_|unauthorized$|too_many_attempts$)/.test(String(payload?.code));
    this.emit(type, payload, from);
  }

  /** @param {Info} info */
  #take(info) {
    this.#seat.id = info.id;
    if (info.key !== undefined) this.#seat.key = info.key;
    this.#seatedAt ||= performance.now();
    this.#refused = false;
    clearTimeout(this.#timers.open);
    this.#options.onState('open');
    for (const message of this.#outbox.splice(0)) this.send(...message);
  }

  /** @param {number} limit */
  #ping(limit) {
    if (!this.trySend('ping', ++this.#pings)) return;
    const by = performance.now() + limit;
    if (this.#pongBy <= by) return; // Asking again is no reason to wait longer for the first answer.
    this.#pongBy = by;
    clearTimeout(this.#timers.pong);
    this.#timers.pong = setTimeout(() => this.#drop('no answer to a ping', 0), limit);
  }

  /**
   * @param {string} why
   * @param {number} [first] the first wait; none where the way was lost, for then no server is restarting
   */
  #drop(why, first = RETRY_FIRST) {
    if (this.#closing.signal.aborted) return;
    if (this.#seatedAt && performance.now() - this.#seatedAt > GOOD_SOCKET) this.#attempts = 0;
    this.#release(COMING_BACK);
    const cap = this.#refused ? REFUSED_CAP : RETRY_CAP;
    const wait = this.#attempts++ === 0 ? first : Math.min(RETRY_FIRST * 2 ** (this.#attempts - 1), cap);
    // Jitter: a wall of screens must not knock at a restarted server in one instant.
    this.#timers.retry = setTimeout(() => this.#open(), wait * (0.7 + 0.6 * Math.random()));
    this.#options.onState('waiting', why);
  }

  /**
   * Closes what is open. The old socket always goes before a new one comes: two would fight for the seat.
   * @param {number} code
   */
  #release(code) {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    const socket = this.#socket;
    this.#socket = undefined;
    this.#seatedAt = 0;
    this.#pongBy = Infinity;
    socket?.close(code);
  }

  /** The page has slept, or the network has changed. */
  #wake() {
    this.#attempts = 0;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#ping(PONG_LIMIT_AWAKE);
    else this.#open(); // One that is being opened may be on its way into the network of before.
    this.#options.onWake();
  }

  /** What the page goes through: sleep, a new network, leaving, coming back. */
  #watchPage() {
    const { signal } = this.#closing;
    const wake = () => this.#wake();
    let last = Date.now();
    // Not every browser says that it has slept. The clock of performance.now() may sleep with the machine.
    const beat = setInterval(() => {
      const slept = Date.now() - last > SLEPT && !globalThis.document?.hidden;
      last = Date.now();
      if (slept) wake();
    }, BEAT);
    signal.addEventListener('abort', () => clearInterval(beat));
    globalThis.addEventListener?.('online', wake, { signal });
    globalThis.document?.addEventListener('resume', wake, { signal });
    /** @type {any} not in every browser */ (globalThis.navigator)?.connection?.addEventListener('change', wake, { signal });
    globalThis.addEventListener?.('pageshow', (event) => event.persisted && wake(), { signal });
    // Closing by ourselves says that we leave; a page that just vanishes looks like a lost socket.
    globalThis.addEventListener?.('pagehide', () => this.#release(LEAVING), { signal });
    globalThis.document?.addEventListener('visibilitychange', () => document.hidden || wake(), { signal });
  }
}

/**
 * @param {string} type
 * @param {unknown} payload
 * @param {string} [target]
 */
function composeMessage(type, payload, target) {
  return JSON.stringify({ type, [type]: payload, target });
}

/**
 * @param {string} text
 * @returns {{ type: string, payload: any, from?: string }}
 */
function parseMessage(text) {
  const message = JSON.parse(text);
  return { type: message.type, payload: message[message.type], from: message.from };
}
