/**
 * The portals client: meets the members of a room over a WebSocket and keeps one WebRTC connection, a "portal", with each.
 *
 *     import { PortalGun } from 'http://portald.local:8080/client.js';
 *     const gun = new PortalGun({ room: 'home' });
 *     gun.addEventListener('connection', (portal) => portal.peer.addEventListener('track', show));
 *
 * It has the API of the portals library and works with any portals server. With portald it also keeps connections
 * that still stand when the roster or the socket changes, and has those renewed that do not.
 *
 * @module
 */
import { Emitter } from './emitter.js';
import { Latency } from './latency.js';
import { Portal } from './portal.js';
import { SignalingChannel } from './signaling.js';

export { Latency, Portal, SignalingChannel };

/**
 * What is called often, done once when it has been quiet for a while; as in the portals library.
 * @param {number} ms how long
 * @param {() => void} act
 * @returns {() => void}
 */
export function debounce(ms, act) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, ms);
  };
}

/** Waits between two renewals of one member's session: doubled from the first to the cap. */
const RENEW_FIRST = 10_000;
const RENEW_CAP = 60_000;
/** How soon to ask again for what could not be asked for, the socket being away. */
const RENEW_UNSENT = 2_000;
/** While nothing comes from anyone, one after the other tries, each for so long: as long as a connection may take. */
const SCOUT = 10_000;
/** After so many in vain they take pauses, doubled up to {@link RENEW_CAP}: UDP may be blocked here for good. */
const SCOUTS = 12;
/** A camera of which nothing came for so long (ms) is no proof that the network is well. */
const QUIET = 2_000;
/** Messages kept while the socket is away; the server keeps 64 for us in turn. */
const OUTBOX = 128;
/** Longest wait for the server's RTC configuration. On a LAN none is needed, so we do without rather than wait. */
const RTC_LIMIT = 2_000;
/** How often (ms) it is asked anew: half as long as a TURN password lasts at least. */
const RTC_EVERY = 300_000;

/** @typedef {import('./signaling.js').Info} Info */
/** @typedef {import('./signaling.js').Member} Member */
/** @typedef {import('./signaling.js').LinkState} LinkState */

/**
 * What the server said is wrong; `code` is `room_not_set`, `room_not_found`, `room_full`, `unauthorized` (the room needs
 * a password or token), `too_many_attempts` or `bad_message`.
 */
export class PortalError extends Error {
  /**
   * @param {string} code for programs
   * @param {string} [message] for people
   */
  constructor(code, message) {
    super(message ?? code);
    this.name = 'PortalError';
    this.code = code;
  }
}

/**
 * Keeps a portal with every member of a room.
 * Emits `connection` and `disconnection` ({@link Portal}), `info` ({@link Info}), `error` ({@link PortalError}),
 * `state` ({@link LinkState}, why) and `debug` (text).
 *
 * A `connection` for a member that had one replaces it: show the new portal, forget the old one.
 */
export class PortalGun extends Emitter {
  /** @type {RTCConfiguration | undefined} */
  #rtc;
  /** What came before the RTC configuration did. @type {(() => void)[] | undefined} */
  #early = [];
  /** @type {{ portal: Portal, type: string, payload: unknown }[]} */
  #outbox = [];
  /** @type {Map<string, { attempts: number, notBefore: number }>} */
  #patience = new Map();
  /** Who looks whether there is a way again: in vain so often, and nobody else before. */
  #scouts = { sent: 0, until: 0 };
  /** Our seat was away and is ours again. */
  #isBack = false;
  /** @type {string | undefined} */
  #key;
  /** Everyone in the room whom we may see, as last told. @type {Member[]} */
  #listed = [];

  /** Where to ask for the RTC configuration; nowhere, where the page has its own. @type {URL | undefined} */
  #adviser;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #askAgain;
  /** Ends the question for the RTC configuration. */
  #ending = new AbortController();
  /** @type {(member: Member) => boolean} */
  #accept;

  /**
   * @param {{
   *   room: string,
   *   url?: string | URL,
   *   rtc?: RTCConfiguration,
   *   token?: string,
   *   accept?: (member: Member) => boolean,
   * } & import('./signaling.js').Format} options `url` is the server's portal, by default that of the server this module came from;
   *   `rtc` is by default what that server advises; `token` is the room's password or token, if it needs one (a `?token=`
   *   in `url` is the same); `accept` says with whom to connect, by default with everyone
   */
  constructor({ room, url = new URL('portal', import.meta.url), rtc, token, accept = () => true, ...format }) {
    super();
    this.#accept = accept;
    /** Our id in the room, once we know it. @type {string | undefined} */
    this.id = undefined;
    /** @type {LinkState} */
    this.state = 'connecting';
    /** By member id. @type {Map<string, Portal>} */
    this.portals = new Map();
    const address = new URL(url);
    address.searchParams.set('room', room);
    if (token) address.searchParams.set('token', token);
    /** The way to the server, for messages of your own. */
    this.signaler = new SignalingChannel(address, {
      ...format, onState: (...change) => this.#onState(...change), onWake: () => this.#startOver(),
    });
    this.#route();
    if (rtc) {
      this.#start(rtc);
    } else {
      this.#adviser = address;
      this.#takeAdvice();
    }
  }

  /** As the portals library calls {@link portals}. */
  get connections() {
    return this.portals;
  }

  /** Asks `accept` about everyone anew: ends connections that it no longer wants, and makes those that it now does. */
  reconsider() {
    for (const member of this.#listed) {
      const wanted = this.#accept(member);
      if (this.portals.has(member.id) === wanted) continue;
      if (!wanted) this.#end(member.id);
      // The other end has seen our connection go, or never heard of us: it needs to be told to begin.
      else if (member.session === undefined) this.#meet(member, true);
      else this.signaler.trySend('renew-session', member.session, member.id);
    }
  }

  /** Ends every connection, leaves the room and never comes back. */
  close() {
    this.signaler.close();
    clearTimeout(this.#askAgain);
    this.#ending.abort();
    for (const id of [...this.portals.keys()]) this.#end(id);
    this.#outbox = [];
  }

  #route() {
    this.signaler.addEventListener('info', (/** @type {Info} */ info) => this.#inOrder(() => this.#onInfo(info)));
    this.signaler.addEventListener('error', (/** @type {any} */ error) =>
      this.emit('error', new PortalError(String(error?.code), error?.message)));
    for (const type of /** @type {const} */ (['description', 'candidate', 'state', 'trouble'])) {
      this.signaler.addEventListener(type, (/** @type {any} */ payload, /** @type {string} */ from) =>
        this.#inOrder(() => this.portals.get(from)?.receive(type, payload)));
    }
  }

  /** @param {() => void} task */
  #inOrder(task) {
    if (this.#early) this.#early.push(task);
    else task();
  }

  /** Asks the server for its RTC configuration, now and from time to time: passwords of TURN servers end. */
  async #takeAdvice() {
    if (!this.#adviser) return;
    clearTimeout(this.#askAgain);
    const advice = await adviseRtc(this.#adviser, this.#ending.signal);
    if (this.#ending.signal.aborted) return;
    clearTimeout(this.#askAgain);
    this.#askAgain = setTimeout(() => this.#takeAdvice(), RTC_EVERY);
    if (this.#early) this.#start(advice ?? {});
    else if (advice) this.#rtc = advice;
  }

  /** @param {RTCConfiguration} rtc */
  #start(rtc) {
    this.#rtc = rtc;
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const task of early) task();
  }

  /**
   * @param {LinkState} state
   * @param {string} [why]
   */
  #onState(state, why) {
    if (state === this.state) return;
    this.state = state;
    this.#isBack ||= state === 'open';
    // The server may be another than before, and the page may have slept for days.
    if (state === 'open' && !this.#early) this.#takeAdvice();
    if (why) this.emit('debug', `signalling ${state}: ${why}`);
    this.emit('state', state, why);
  }

  /** @param {Info} info */
  #onInfo(info) {
    if (this.state === 'closed' || !Array.isArray(info?.members)) return;
    // A new key is a new seat, perhaps at a restarted server that counts sessions from the start: nothing of before stands.
    const newSeat = info.key !== undefined && info.key !== this.#key;
    this.#key = info.key ?? this.#key;
    this.id = info.id;
    this.#listed = info.members;
    const members = info.members.filter((member) => this.#accept(member));
    const listed = new Set(members.map((member) => member.id));
    for (const id of [...this.portals.keys()]) if (!listed.has(id)) this.#end(id);
    for (const member of members) this.#meet(member, newSeat);
    this.#flush();
    if (this.#isBack) this.#startOver();
    this.#isBack = false;
    this.emit('info', info);
  }

  /**
   * Keeps the connection with `member` when its session still stands, and makes a new one otherwise.
   * @param {Member} member
   * @param {boolean} newSeat
   */
  #meet(member, newSeat) {
    const old = this.portals.get(member.id);
    if (old && !newSeat && member.session !== undefined && member.session === old.target.session) {
      old.target = member;
      return;
    }
    old?.close();
    try {
      const portal = new Portal(member, this.#rtc ?? {}, {
        post: (...message) => this.#post(...message),
        tell: ({ target }, type, payload) => this.state === 'open' && this.signaler.send(type, payload, target.id),
        renew: (...request) => this.#renew(...request),
        up: (up) => this.#onUp(up),
        check: () => this.signaler.check(),
        debug: (text) => this.emit('debug', text),
      });
      this.portals.set(member.id, portal);
      this.emit('connection', portal);
    } catch (error) {
      this.portals.delete(member.id);
      this.emit('error', new PortalError('rtc_refused', `this browser makes no connection: ${error}`));
    }
  }

  /** @param {string} id */
  #end(id) {
    const portal = this.portals.get(id);
    this.portals.delete(id);
    this.#patience.delete(id);
    portal?.close();
    this.emit('disconnection', portal);
  }

  /**
   * Sends what a portal has to say, now or when we have our seat again.
   * @param {Portal} portal
   * @param {string} type
   * @param {unknown} payload
   */
  #post(portal, type, payload) {
    if (this.state === 'open' && this.signaler.trySend(type, payload, portal.target.id)) return;
    // Over the limit the oldest go: their connection will not come up, and is renewed for it.
    if (this.#outbox.push({ portal, type, payload }) > OUTBOX) this.#outbox.shift();
  }

  #flush() {
    const waiting = this.#outbox.splice(0).filter(({ portal }) => !portal.isClosed);
    for (const { portal, type, payload } of waiting) this.#post(portal, type, payload);
  }

  /**
   * @param {Portal} portal
   * @param {string} why
   * @returns {number} milliseconds until it makes sense to ask again
   */
  #renew(portal, why) {
    const { id, session } = portal.target;
    if (this.portals.get(id) !== portal) return RENEW_CAP;
    if (session === undefined) {
      // A reference server has no sessions; ICE's own way is all there is.
      if (portal.peer.connectionState === 'failed') portal.peer.restartIce();
      return RENEW_FIRST;
    }
    const now = performance.now();
    if (portal.isCamera && this.#isDark(portal)) return this.#sendScout(portal, why, now);
    const patience = this.#patience.get(id) ?? { attempts: 0, notBefore: 0 };
    if (now < patience.notBefore) return patience.notBefore - now;
    if (now > patience.notBefore + RENEW_CAP) patience.attempts = 0;
    if (this.state !== 'open' || !this.signaler.trySend('renew-session', session, id)) return RENEW_UNSENT;
    const wait = Math.min(RENEW_FIRST * 2 ** patience.attempts, RENEW_CAP);
    this.#patience.set(id, { attempts: patience.attempts + 1, notBefore: now + wait });
    this.emit('debug', `${id}: asked for a new session: ${why}`);
    return wait;
  }

  /**
   * Whether nothing comes from any other camera either. Then the network is at fault, most likely.
   * @param {Portal} portal
   */
  #isDark(portal) {
    return [...this.portals.values()].every((other) =>
      other === portal || !other.isCamera || other.peer.connectionState !== 'connected' || other.silence > QUIET);
  }

  /**
   * A new session for one camera at a time: where nothing gets through, one tells as much as all of a wall.
   * @param {Portal} portal
   * @param {string} why
   * @param {number} now performance.now()
   * @returns {number} milliseconds until it makes sense to ask again
   */
  #sendScout({ target: { id, session } }, why, now) {
    if (now < this.#scouts.until) return this.#scouts.until - now;
    if (this.state !== 'open' || !this.signaler.trySend('renew-session', session, id)) return RENEW_UNSENT;
    const wait = Math.min(SCOUT * 2 ** Math.max(0, this.#scouts.sent - SCOUTS), RENEW_CAP);
    this.#scouts = { sent: this.#scouts.sent + 1, until: now + wait };
    this.emit('debug', `${id}: asked for a new session, before others do: ${why}`);
    return wait;
  }

  /**
   * Something comes from `portal`. If that was hoped for, the others follow.
   * @param {Portal} portal
   */
  #onUp(portal) {
    if (this.#scouts.sent > 0) this.#startOver(portal);
  }

  /**
   * There is a way again, or may be: whoever waits for a better time tries now.
   * @param {Portal} [first] who got through already
   */
  #startOver(first) {
    this.#scouts = { sent: 0, until: 0 };
    this.#patience.clear();
    for (const portal of this.portals.values()) if (portal !== first) portal.retry(first ? undefined : 0);
  }
}

/**
 * The RTC configuration that the server at `portal` advises; nothing where there is none to be had.
 * @param {URL} portal
 * @param {AbortSignal} ending
 * @returns {Promise<RTCConfiguration | undefined>}
 */
async function adviseRtc(portal, ending) {
  const server = new URL(portal);
  server.protocol = server.protocol.replace(/^ws/, 'http');
  const home = new URL(import.meta.url);
  // Behind a proxy with a prefix, the API is where this module came from, not at the root.
  const url = server.origin === home.origin ? new URL('api/rtc', home) : new URL('/api/rtc', server);
  const token = portal.searchParams.get('token');
  // Not as a header: asking from another origin, the browser would have to ask first whether it may.
  if (token) url.searchParams.set('token', token);
  const question = new AbortController();
  const giveUp = () => question.abort();
  ending.addEventListener('abort', giveUp);
  const limit = setTimeout(giveUp, RTC_LIMIT);
  try {
    const response = await fetch(url, { signal: question.signal, cache: 'no-store' });
    const advice = response.ok ? await response.json() : undefined;
    return advice && typeof advice === 'object' ? advice : undefined;
  } catch {
    return undefined;
  } finally {
    clearTimeout(limit);
    ending.removeEventListener('abort', giveUp);
  }
}
