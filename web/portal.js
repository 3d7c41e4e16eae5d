/**
 * One WebRTC connection with one member of the room.
 * @module
 */
import { Emitter } from './emitter.js';
import { playback } from './playback.js';

/** Offer to connection takes 0.1 s on a LAN; a connection not up by now never will be. */
const CONNECT_LIMIT = 10_000;
/** A camera that says it is live and sends nothing for so long after connecting is not heard by us. */
const MEDIA_LIMIT = 10_000;
/**
 * How long we let the other one make the first offer. Two offers that meet cost the polite side a rollback, and after
 * one Chromium (seen in 156) may gather no candidates at all, or leave a received track muted for ever. A stock client
 * with something to show offers at once, polite or not, so the impolite side waits too, for a shorter time.
 */
const AFTER_YOU = { polite: 1_000, impolite: 300 };
/** ICE says `disconnected` after some 5 s without an answer; it may recover by itself, but for so long only we wait. */
const DISCONNECTED_LIMIT = 1_000;
/** The same when others have just been seen to come back. */
const RECOVER = 500;
/** Nobody has asked for so long whether something comes: the page slept, and that is no silence of the other side. */
const UNASKED = 3_000;
/** How often a camera is told how its pictures run (ms): Prometheus asks each 15 s or less often. */
const PLAYBACK_EVERY = 10_000;
/** So long (ms) one look at the statistics serves all who ask: each look costs the browser's network thread. */
const STATS_FRESH = 1_000;
/** Candidates held back until there is a description they belong to; a browser has about a dozen. */
const HELD_CANDIDATES = 256;

/** @typedef {import('./signaling.js').Member} Member */
/**
 * What a camera of portald says of itself; `since` is Unix time in milliseconds.
 * @typedef {{ state: string, reason?: string | null, since?: number }} CameraState
 */
/**
 * What a portal needs of its gun. `post` waits for the socket, `tell` does not; `renew` returns the milliseconds until it makes sense to ask again.
 * @typedef {{
 *   post: (portal: Portal, type: string, payload: unknown) => void,
 *   tell: (portal: Portal, type: string, payload: unknown) => void,
 *   renew: (portal: Portal, why: string) => number,
 *   up: (portal: Portal) => void,
 *   check: () => void,
 *   debug: (text: string) => void,
 * }} Link
 */

let serials = 0;

/**
 * The connection with one member. Perfect negotiation: either side may add tracks at any time.
 * Emits `track` (RTCTrackEvent), `state` ({@link CameraState}, from a camera), `error`, `close`.
 */
export class Portal extends Emitter {
  /** Work on what the member sent, one after the other: a candidate must not overtake its description. */
  #inbox = Promise.resolve();
  /** @type {RTCIceCandidateInit[]} */
  #held = [];
  /** What came last, when that was seen first, and when it was looked for. */
  #heard = { stamp: -1, at: performance.now(), askedAt: 0 };
  /** When the connection came up, or came back. */
  #connectedAt = -Infinity;
  /** The camera has ended its side. */
  #ended = false;
  /** It should have been renewed by now. */
  #overdue = false;
  #makingOffer = false;
  #ignoringOffer = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #deadline;
  /** Until it is our turn to offer. @type {ReturnType<typeof setTimeout> | undefined} */
  #afterYou;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #playback;
  /** The last look at the statistics. @type {{ at: number, report: Promise<RTCStatsReport> } | undefined} */
  #stats;
  #link;

  /**
   * @param {Member} target
   * @param {RTCConfiguration} rtc
   * @param {Link} link
   */
  constructor(target, rtc, link) {
    super();
    this.#link = link;
    /** The member at the other end. */
    this.target = target;
    /** Tells this connection from every other one this page has had. */
    this.serial = ++serials;
    /** What the camera at the other end last said of itself. @type {CameraState | undefined} */
    this.state = undefined;
    /** @type {RTCPeerConnection} */
    this.peer = new RTCPeerConnection(rtc);
    this.#listen();
    // A camera offers by itself. A peer may have nothing to show, and then nothing is ever negotiated.
    if (this.isCamera) this.#expect(CONNECT_LIMIT, 'no connection in time');
  }

  /** Whether a camera is at the other end, on any server. */
  get isCamera() {
    return this.target.kind === 'camera' || this.target.id.startsWith('!');
  }

  get isClosed() {
    return this.peer.signalingState === 'closed';
  }

  /** For how long (ms) no media has come. It is measured by being asked for, at least every 3 s. */
  get silence() {
    const now = performance.now();
    const sources = this.isClosed ? [] : this.peer.getReceivers().flatMap((receiver) => receiver.getSynchronizationSources());
    const stamp = sources.reduce((latest, { timestamp }) => Math.max(latest, timestamp), -1);
    const news = stamp >= 0 && stamp !== this.#heard.stamp; // A browser forgets sources that are silent.
    if (news) this.#heard.stamp = stamp;
    if (news || now - this.#heard.askedAt > UNASKED) this.#heard.at = now;
    this.#heard.askedAt = now;
    return now - Math.max(this.#heard.at, this.#connectedAt);
  }

  /** For how long (ms) it has been connected; 0 while it is not. */
  get connectedFor() {
    return this.peer.connectionState === 'connected' ? performance.now() - this.#connectedAt : 0;
  }

  /**
   * Sends every track of `stream` to the member.
   * @param {MediaStream} stream
   */
  addMediaStream(stream) {
    for (const track of stream.getTracks()) this.peer.addTrack(track, stream);
  }

  /** What the browser counts of the connection; one look serves all who ask within a second. */
  stats() {
    const at = performance.now();
    if (!this.#stats || at - this.#stats.at >= STATS_FRESH) this.#stats = { at, report: this.peer.getStats() };
    return this.#stats.report;
  }

  /**
   * Asks the server for a fresh connection in place of this one, at most as often as patience allows.
   * A new portal follows by a `connection` event.
   * @param {string} why
   * @returns {number} milliseconds until it makes sense to ask again
   */
  renew(why) {
    return this.#link.renew(this, why);
  }

  /** Something seems wrong with what is seen: proves now whether the way to the server stands. */
  check() {
    this.#link.check();
  }

  /**
   * There is reason to hope again: what waits to be renewed is, if it has not recovered shortly.
   * @param {number} [limit] milliseconds
   */
  retry(limit = RECOVER) {
    const lost = this.#overdue || ['disconnected', 'failed'].includes(this.peer.connectionState);
    if (lost && !this.#isFine()) this.#expect(limit, 'there is a way again');
  }

  /** Ends the connection, at this end only. */
  close() {
    if (this.isClosed) return;
    clearTimeout(this.#deadline);
    clearTimeout(this.#afterYou);
    clearInterval(this.#playback);
    this.peer.close();
    this.emit('close');
  }

  /**
   * Takes in a message from the member.
   * @param {'description' | 'candidate' | 'state' | 'trouble'} type
   * @param {any} payload
   */
  receive(type, payload) {
    // Our own clients write the session into what they send; what was meant for a connection before this one is void.
    if (payload?.session !== undefined && payload.session !== this.target.session) {
      return this.#link.debug(`${this.target.id}: ${type} of session ${payload.session} is stale`);
    }
    if (type === 'state') return this.#onState(payload);
    if (type === 'trouble') return this.#onTrouble(payload);
    const handle = type === 'description' ? () => this.#onDescription(payload) : () => this.#onCandidate(payload);
    this.#inbox = this.#inbox.then(() => (this.isClosed ? undefined : handle())).catch((error) => this.#fail(error));
  }

  #listen() {
    this.peer.addEventListener('negotiationneeded', () => this.#onNegotiationNeeded());
    this.peer.addEventListener('icecandidate', ({ candidate }) => this.#post('candidate', candidate?.toJSON() ?? null));
    this.peer.addEventListener('connectionstatechange', () => {
      if (this.peer.connectionState === 'connected') this.#connectedAt = performance.now();
      this.#onConnectionState();
    });
    this.peer.addEventListener('track', (event) => {
      event.track.addEventListener('unmute', () => this.#onConnectionState());
      this.emit('track', event);
    });
  }

  /**
   * @param {'description' | 'candidate'} type
   * @param {any} payload
   */
  #post(type, payload) {
    this.#link.post(this, type, payload && { ...payload, session: this.target.session });
  }

  #onNegotiationNeeded() {
    if (this.peer.remoteDescription) return void this.#offer();
    // A camera always offers; once it has been answered the browser asks again for what is still to be negotiated.
    if (this.isCamera) return;
    clearTimeout(this.#afterYou);
    this.#afterYou = setTimeout(() => {
      if (!this.peer.remoteDescription && this.peer.signalingState === 'stable') this.#offer();
    }, this.target.polite ? AFTER_YOU.polite : AFTER_YOU.impolite);
  }

  async #offer() {
    try {
      this.#makingOffer = true;
      await this.peer.setLocalDescription();
      this.#sendLocal();
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#makingOffer = false;
    }
  }

  #sendLocal() {
    if (this.isClosed || !this.peer.localDescription) return;
    const { type, sdp } = this.peer.localDescription;
    this.#post('description', { type, sdp });
    if (this.peer.connectionState === 'new') this.#expect(CONNECT_LIMIT, 'no connection in time');
  }

  /** @param {RTCSessionDescriptionInit} description */
  async #onDescription({ type, sdp } = /** @type {any} */ ({})) {
    const isOffer = type === 'offer';
    if (!isOffer && this.peer.signalingState !== 'have-local-offer') {
      return this.#link.debug(`${this.target.id}: ${type} where none is awaited`);
    }
    const ready = !this.#makingOffer && this.peer.signalingState === 'stable';
    this.#ignoringOffer = isOffer && !ready && !this.target.polite;
    if (this.#ignoringOffer) return;
    await this.peer.setRemoteDescription({ type, sdp }); // Rolls our own offer back where the two have met.
    for (const candidate of this.#held.splice(0)) await this.#addCandidate(candidate);
    if (!isOffer) return;
    await this.peer.setLocalDescription();
    this.#sendLocal();
  }

  /** @param {RTCIceCandidateInit | null} candidate */
  async #onCandidate(candidate) {
    if (!candidate) return; // The end of a generation; ICE does not wait for it.
    if (this.peer.remoteDescription) return this.#addCandidate(candidate);
    if (this.#held.length < HELD_CANDIDATES) this.#held.push(candidate);
  }

  /** @param {RTCIceCandidateInit} candidate */
  async #addCandidate(candidate) {
    try {
      await this.peer.addIceCandidate(candidate);
    } catch (error) {
      // Of an offer we ignored, of a generation that is over, or of a kind this browser does not know: one candidate
      // less is no failure.
      if (!this.#ignoringOffer) this.#link.debug(`${this.target.id}: candidate not taken: ${error}`);
    }
  }

  /** @param {{ message?: string, ended?: boolean }} payload */
  #onTrouble(payload) {
    this.emit('error', new Error(String(payload?.message)));
    if (payload?.ended !== true) return;
    // Our side may not know for a while yet: after a sleep it still takes itself for connected.
    this.#ended = true;
    this.#expect(0, 'the camera ended it');
  }

  /** @param {CameraState} state */
  #onState(state) {
    if (!this.isCamera || typeof state?.state !== 'string') return;
    this.state = state;
    this.emit('state', state);
    this.#onConnectionState();
  }

  #onConnectionState() {
    const state = this.peer.connectionState;
    if (state === 'failed') this.#expect(0, 'the connection failed');
    else if (state === 'disconnected') this.#expect(DISCONNECTED_LIMIT, 'the connection was lost');
    else if (this.#isFine()) this.#rejoice();
    else if (state === 'connected') this.#expect(MEDIA_LIMIT, 'connected, but nothing comes');
    if (state === 'connected') this.#playback ??= setInterval(() => this.#tellPlayback(), PLAYBACK_EVERY);
  }

  /** For portald's metrics. A server without sessions is another, and has no use for it. */
  async #tellPlayback() {
    const { session } = this.target;
    if (!this.isCamera || session === undefined || this.isClosed) return;
    const told = playback(/** @type {any} */ (await this.stats()));
    if (told && !this.isClosed) this.#link.tell(this, 'playback', { ...told, session });
  }

  #rejoice() {
    clearTimeout(this.#deadline);
    this.#overdue = false;
    this.#link.up(this);
  }

  #isFine() {
    if (this.#ended || this.peer.connectionState !== 'connected') return false;
    // Only cameras always send something; and one that has no picture itself cannot be helped by a new connection.
    if (!this.isCamera || (this.state?.state ?? 'live') !== 'live') return true;
    return this.peer.getReceivers().some((receiver) => !receiver.track.muted);
  }

  /**
   * @param {number} limit
   * @param {string} why it must be renewed when it is not fine by then
   */
  #expect(limit, why) {
    clearTimeout(this.#deadline);
    if (this.isClosed) return;
    this.#deadline = setTimeout(() => {
      if (this.#isFine()) return;
      this.#overdue = true;
      this.#expect(this.renew(why), why);
    }, limit);
  }

  /** @param {any} error */
  #fail(error) {
    if (this.isClosed) return; // Closing interrupts what was under way; that is no fault.
    this.emit('error', error);
    this.renew(`negotiation failed: ${error}`);
  }
}
