/**
 * One camera (or person) on the wall: its picture, and the truth about it.
 * @module
 */
import { Latency } from './latency.js';
import { Stills } from './stills.js';
import { BADGES, clock, duration, HEADLINES, NO_SOCKET_WHY, STILLS_WHY, TAP_WHY } from './words.js';

/** @typedef {import('./client.js').Portal} Portal */
/** With what only `/api/cameras` tells: when it was last live, in Unix ms. @typedef {import('./client.js').CameraState & { seen?: number | null }} CameraState */
/**
 * `live`: the picture moves · `waiting`: none has come yet · `frozen`: it has stopped moving · `problem`: the camera has one
 * · `stills`: single pictures over HTTP, because no connection comes up.
 * @typedef {'live' | 'waiting' | 'frozen' | 'problem' | 'stills'} Phase
 */
/** As `/api/cameras` lists them. @typedef {{ name: string, width: number, height: number, codec?: string, encoder?: string, degraded?: string | null }} Rendition */

/** A picture older than this (ms) is no longer live, and the tile says so. */
const STALE = 2_000;
/** A size must have lasted so long (ms) before the camera is told: windows are dragged. */
const SETTLED = 300;
/** And so long out of sight: who looks at one camera may soon look at all again. */
const UNSEEN = 3_000;
/** So long without a picture (ms), and the way to the server is looked at. */
const DOUBT = 1_000;
/** So long without anything (ms) from a camera that says it is live, and a new connection is asked for. */
const UNHEARD = 3_000;
/** The same without a picture: a busy machine may need so long to show what has come. */
const GIVE_UP = 10_000;
/** A page that was hidden may show an old picture for so long (ms) until the first new one. */
const BACK = 500;
/** So long without a picture (ms), and single ones are fetched: on a LAN a connection takes less than a second. */
const FALL_BACK = 4_000;
/** A tile this near to the screen may be on it soon. */
const NEARBY = '25%';
/** A picture no wider than this (pixels) is none. */
const BLANK = 2;
/** A single picture older than this (ms) is not shown as if it were of now. */
const STILL_STALE = 5_000;

export class Tile {
  /** What is on the screen now, so that the page is touched only when that changes. */
  #shown = '';
  /** What its badge means. */
  #why = '';
  /** Since when a picture could have been seen: not while the page is hidden. */
  #watchedSince = performance.now();
  #frameRequest = 0;
  /** Of what is shown. @type {Latency | undefined} */
  #latency;
  #presentedAt = 0;
  /** What the connection's camera was last told of our wishes. @type {{ portal?: Portal, quality: string, view: string }} */
  #told = { quality: 'auto', view: '' };
  /** How the picture is shown, and since when. */
  #view = { text: '', since: 0 };
  /** Single pictures, while no others come. @type {Stills | undefined} */
  #stills;
  /** Of no camera others came since single ones did. */
  static #livesOnStills = false;
  /** The browser wants a tap before it plays anything. */
  #wantsTap = false;
  /** Of a person; cameras have none. @type {MediaStreamTrack | undefined} */
  #sound;
  #screen = new IntersectionObserver((entries) => this.#scrolled(entries.at(-1)?.isIntersecting ?? true), { rootMargin: NEARBY });

  /**
   * @param {HTMLTemplateElement} template
   * @param {string} id the member's id
   */
  constructor(template, id) {
    this.id = id;
    this.name = id.replace(/^!/, '');
    this.title = this.name;
    /** Width over height. */
    this.aspect = 16 / 9;
    /** @type {CameraState} */
    this.state = { state: '' };
    /** When the camera itself last told its state; slower news is older. */
    this.toldAt = 0;
    /** @type {Portal | undefined} */
    this.portal = undefined;
    /** Connections so far. */
    this.connections = 0;
    /** Pictures shown so far. */
    this.frames = 0;
    /** When the last one was (performance.now()). */
    this.lastFrameAt = 0;
    /** When the last one of the camera itself was: while it is not live, a slate comes on the same track. */
    this.lastLiveAt = 0;
    /** Longest time (ms) between two pictures; set it to 0 to measure anew. */
    this.longestGap = 0;
    /** @type {Phase} */
    this.phase = 'waiting';
    /** The rendition somebody chose for this tile. @type {'auto' | 'main' | 'sub'} */
    this.wish = 'auto';
    /** @type {Rendition[]} */
    this.renditions = [];

    const fragment = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    this.element = /** @type {HTMLLIElement} */ (fragment.querySelector('.tile'));
    this.video = this.#part('video', HTMLVideoElement);
    this.button = this.#part('.open', HTMLButtonElement);
    this.closer = this.#part('.close', HTMLAnchorElement);
    this.more = this.#part('.more', HTMLButtonElement);
    this.still = this.#part('.still', HTMLImageElement);
    // The attribute in the markup is not enough: a browser may start a cloned video unmuted, and then refuse to play it.
    this.video.muted = true;
    this.video.addEventListener('loadeddata', () => this.#awaitFrame());
    this.video.addEventListener('resize', () => this.#measure());
    // By whatever; but who does it in a window of its own means it.
    this.video.addEventListener('pause', () => document.pictureInPictureElement === this.video || this.resume());
    this.video.addEventListener('leavepictureinpicture', () => this.resume());
    this.element.addEventListener('pointerenter', () => this.#tell());
    /** Whether it is not scrolled out of sight. */
    this.isOnScreen = true;
    this.#screen.observe(this.element);
  }

  /**
   * Shows what comes over `portal` from now on. The last picture stays until there is a new one.
   * @param {Portal} portal
   */
  attach(portal) {
    this.portal = portal;
    this.connections++;
    const expect = (/** @type {MediaStreamTrack} */ track) => this.#await(portal, track);
    for (const receiver of portal.peer.getReceivers()) expect(receiver.track);
    portal.addEventListener('track', (/** @type {RTCTrackEvent} */ event) => expect(event.track));
  }

  /** Whether it shows a camera, and not somebody. */
  get isCamera() {
    return this.id.startsWith('!');
  }

  /** Whether the camera itself has no picture to show, also where nobody looks at the tile. */
  get isDown() {
    return HEADLINES.has(this.state.state);
  }

  /** From the camera's capture to this screen, in ms, where the browser tells. */
  get latency() {
    return this.#latency?.value;
  }

  /** Whether there is anything to hear. */
  get hasSound() {
    return this.video.srcObject instanceof MediaStream && this.video.srcObject.getAudioTracks().length > 0;
  }

  /** The member has gone. */
  detach() {
    this.portal = undefined;
  }

  /** Lets go of everything; the tile is taken off the wall. */
  remove() {
    this.detach();
    this.#endStills();
    this.#screen.disconnect();
    this.video.srcObject = null;
    this.element.remove();
  }

  /** The page or the tile was hidden until now, and no picture could have been shown. */
  watchAnew() {
    this.#watchedSince = performance.now();
    this.resume();
  }

  /** Whatever has paused the picture, it goes on. */
  resume() {
    if (this.#isPaused) this.#play();
  }

  get #isPaused() {
    return this.video.srcObject !== null && this.video.paused;
  }

  /** The server may not have got what the camera was told last: it is told again. */
  tellAnew() {
    this.#told = { portal: this.portal, quality: '', view: '' };
  }

  /**
   * Says what is true now.
   * @param {number} now performance.now()
   * @param {boolean} watched whether pictures of this tile would be shown at all
   * @param {boolean} linked whether the server can be reached over the WebSocket
   */
  update(now, watched, linked) {
    const age = this.frames ? now - Math.max(this.lastFrameAt, this.#watchedSince) : now - this.#watchedSince;
    // What nobody sees is sent nothing after a while: no fault of the camera.
    const phase = this.#judge(age);
    if (watched || phase === 'live' || phase === 'problem') this.phase = phase;
    else if (this.phase === 'problem') this.phase = 'waiting';
    Tile.#livesOnStills ||= phase === 'stills';
    this.#fallBack(age, watched);
    this.#render(age, linked);
    const connectedFor = this.portal?.connectedFor ?? 0;
    // The client renews connections that fail; one that looks well and brings no pictures only we can tell.
    const silence = this.portal?.silence ?? 0;
    // A new connection does not start what is paused, and a page in the background need not be shown what comes.
    if (!watched || document.hidden || this.#isPaused || this.state.state !== 'live' || age < DOUBT) return;
    this.portal?.check();
    if (connectedFor === 0 || this.phase === 'live') return;
    if (Math.min(age, silence) > UNHEARD) this.portal?.renew('nothing comes');
    else if (Math.min(age, connectedFor) > GIVE_UP) this.portal?.renew('no new picture');
  }

  /**
   * Tells the camera which rendition is wished for, and how large it is shown, unless it knows.
   * @param {import('./client.js').SignalingChannel} signaler
   * @param {'main' | 'sub' | 'auto'} quality
   * @param {boolean} seen whether the tile is to be seen
   * @param {number} now performance.now()
   */
  ask(signaler, quality, seen, now) {
    const { portal } = this;
    if (!portal?.isCamera) return;
    if (this.#told.portal !== portal) this.#told = { portal, quality: 'auto', view: '' };
    const told = this.#told;
    const view = this.#measureView(seen);
    const text = JSON.stringify(view);
    if (text !== this.#view.text) this.#view = { text, since: now };
    const returns = view.visible && told.view.includes('"visible":false');
    const settled = told.view === '' || returns || now - this.#view.since >= (view.visible ? SETTLED : UNSEEN);
    // The size first: `auto` is decided by it.
    if (settled && told.view !== text && signaler.trySend('view', view, this.id)) told.view = text;
    if (told.quality !== quality && signaler.trySend('quality', quality, this.id)) told.quality = quality;
  }

  /** @param {number} age @param {boolean} watched */
  #fallBack(age, watched) {
    if (this.phase === 'live' || !watched || !this.isCamera || HEADLINES.has(this.state.state)) return this.#endStills();
    // Who goes from camera to camera need not find out for each anew.
    if (this.#stills || (age < FALL_BACK && !Tile.#livesOnStills) || this.state.state === 'opening') return;
    this.#stills = new Stills(this.name, this.still, () => this.element.classList.contains('large'));
  }

  #endStills() {
    this.#stills?.close();
    this.#stills = undefined;
  }

  /** Why what is shown is smaller or slower than wished for, if it is. */
  get degraded() {
    const { videoWidth, videoHeight } = this.video;
    return this.renditions.find(({ width, height, degraded }) => degraded && width === videoWidth && height === videoHeight)?.degraded ?? '';
  }

  /** For tests and the curious. */
  get stats() {
    const { name, phase, state, frames, lastFrameAt, longestGap, connections, video } = this;
    return {
      name, phase, state: state.state, reason: state.reason ?? null, frames, lastFrameAt, longestGap, connections,
      connection: this.portal?.serial, width: video.videoWidth, height: video.videoHeight,
      // From capture to screen, in ms; null where it is not known.
      latency: this.latency ?? null,
    };
  }

  /** What the tile says instead of a picture. */
  get headline() {
    return this.#part('.headline', HTMLElement).textContent ?? '';
  }

  /**
   * @param {number} age of the last picture, in ms
   * @returns {Phase}
   */
  #judge(age) {
    if (HEADLINES.has(this.state.state)) return 'problem';
    // Pictures that come while the camera says it has none are a slate.
    const now = performance.now();
    const isOld = now - this.lastFrameAt > STALE && (Tile.#livesOnStills || now - this.#watchedSince > BACK);
    if (this.frames > 0 && age < STALE) return isOld || this.state.state === 'opening' ? 'waiting' : 'live';
    if (this.#stills && performance.now() - this.#stills.lastAt < STILL_STALE && this.#stills.lastAt > 0) return 'stills';
    return this.frames > 0 ? 'frozen' : 'waiting';
  }

  /**
   * In pixels of the screen.
   * @param {boolean} visible
   */
  #measureView(visible) {
    const { clientWidth, clientHeight } = this.video;
    const pixels = (/** @type {number} */ length) => Math.round(length * devicePixelRatio);
    return { width: pixels(clientWidth), height: pixels(clientHeight), visible: visible && clientWidth > 0 };
  }

  /** @param {number} age @param {boolean} linked */
  #render(age, linked) {
    const seconds = Math.round(age / 1000);
    const texts = {
      live: ['', ''],
      waiting: [this.#wantsTap ? 'Tap to play' : this.state.state === 'opening' ? 'Opening the camera…' : 'Connecting…', this.state.reason ?? ''],
      frozen: [`No new picture for ${duration(seconds)}`, this.state.reason ?? ''],
      stills: ['', ''],
      problem: [HEADLINES.get(this.state.state) ?? '', this.state.reason ?? ''],
    };
    const [headline, reason] = texts[this.phase];
    const degraded = this.phase === 'live' && this.degraded;
    const badge = BADGES.get(this.state.state) ?? { frozen: 'not live', stills: this.#wantsTap ? 'tap to play' : 'single pictures', live: degraded ? 'reduced' : '' }[/** @type {string} */ (this.phase)] ?? '';
    const seen = this.phase === 'problem' ? this.#seen : '';
    // What was shown last was not of the camera itself.
    const slate = this.phase !== 'live' && this.lastFrameAt > this.lastLiveAt;
    const stills = this.#wantsTap ? TAP_WHY : linked ? STILLS_WHY : NO_SOCKET_WHY;
    const why = this.phase === 'stills' ? stills : degraded ? `Reduced: ${degraded}` : '';
    const shown = [this.phase, this.state.state, this.title, headline, reason, badge, why, slate, seen].join('\n');
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.element.dataset.phase = this.phase;
    this.element.dataset.state = this.state.state;
    this.element.toggleAttribute('data-slate', slate);
    this.element.toggleAttribute('data-tap', this.#wantsTap);
    this.#part('.title', HTMLElement).textContent = this.title;
    this.#part('.headline', HTMLElement).textContent = headline;
    this.#part('.reason', HTMLElement).textContent = reason;
    this.#part('.seen', HTMLElement).textContent = seen;
    this.#part('.badge', HTMLElement).textContent = badge;
    this.#why = why;
    // Without the seconds: who listens need not hear each of them.
    const untrue = this.phase === 'frozen' ? badge : headline;
    const truth = this.phase === 'live' ? `live${why && `. ${why}`}` : why || (HEADLINES.get(this.state.state) ?? untrue);
    this.button.ariaLabel = `${this.title}: ${truth}`;
    this.more.ariaLabel = `Menu of ${this.title}`;
  }

  /** To who points at the tile: what is cut short on it, and what its badge means. */
  #tell() {
    const cut = ['.title', '.headline', '.reason'].map((selector) => this.#part(selector, HTMLElement))
      .filter(({ scrollWidth, clientWidth, scrollHeight, clientHeight }) => scrollWidth > clientWidth || scrollHeight > clientHeight);
    const title = [...cut.map(({ textContent }) => textContent), this.#why].filter(Boolean).join('\n');
    if (this.button.title !== title) this.button.title = title;
  }

  /** When its camera was last seen, or how long it has been so. */
  get #seen() {
    const { seen, since } = this.state;
    return this.lastLiveAt > 0 ? `Last picture ${duration(Math.round((performance.now() - this.lastLiveAt) / 1000))} ago`
      : seen ? `Last picture ${clock(seen)}`
      : since ? `Since ${clock(since)}` : '';
  }

  /**
   * Shows `track` as soon as something comes over it; an empty one would blank out the last picture, if there is one.
   * @param {Portal} portal
   * @param {MediaStreamTrack} track
   */
  #await(portal, track) {
    if (track.kind === 'audio') this.#sound = track;
    if (track.kind !== 'video') return this.#join();
    const show = () => portal === this.portal && this.#show(track);
    if (track.muted && this.frames > 0) track.addEventListener('unmute', show, { once: true });
    else show();
  }

  /** @param {MediaStreamTrack} track */
  #show(track) {
    const current = this.video.srcObject;
    if (current instanceof MediaStream && current.getTracks().includes(track)) return;
    this.video.srcObject = new MediaStream([track]);
    const { portal } = this;
    const receiver = portal?.peer.getReceivers().find((one) => one.track === track);
    this.#latency = portal && receiver && new Latency(receiver, () => portal.stats());
    this.#join();
    this.#play();
  }

  /** Adds the sound to the picture; it is heard when somebody asks for it. */
  #join() {
    const stream = this.video.srcObject;
    if (!this.#sound || !(stream instanceof MediaStream) || stream.getTracks().includes(this.#sound)) return;
    for (const old of stream.getAudioTracks()) stream.removeTrack(old);
    stream.addTrack(this.#sound);
  }

  #play() {
    // Refused where a phone saves power, or nothing may play by itself; with a tap it may. Aborted where another picture takes its place.
    this.video.play().then(() => { this.#wantsTap = false; }, ({ name }) => { this.#wantsTap ||= name === 'NotAllowedError'; });
  }

  #awaitFrame() {
    this.video.cancelVideoFrameCallback(this.#frameRequest);
    this.#frameRequest = this.video.requestVideoFrameCallback((now, { presentationTime, rtpTimestamp, width }) => {
      // Chromium paints a connection that was closed black, two pixels wide; nothing of a camera is in that. Nor does it show
      // what it counts for a video that is paused.
      if (width <= BLANK || this.video.paused) return this.#awaitFrame();
      if (this.#presentedAt > this.#watchedSince) {
        this.longestGap = Math.max(this.longestGap, presentationTime - this.#presentedAt);
      }
      this.#presentedAt = presentationTime;
      this.lastFrameAt = now;
      Tile.#livesOnStills = false;
      if (!HEADLINES.has(this.state.state) && this.state.state !== 'opening') this.lastLiveAt = now;
      this.frames++;
      this.#latency?.shown(now, rtpTimestamp);
      this.#awaitFrame();
    });
  }

  /** @param {boolean} into or out of sight */
  #scrolled(into) {
    if (into && !this.isOnScreen) this.watchAnew();
    this.isOnScreen = into;
  }

  #measure() {
    const { videoWidth, videoHeight } = this.video;
    if (videoWidth && videoHeight) this.expect(videoWidth / videoHeight);
  }

  /** Its pictures have this shape. @param {number} aspect width over height */
  expect(aspect) {
    if (Math.abs(aspect - this.aspect) < 0.01) return;
    this.aspect = aspect;
    this.element.dispatchEvent(new Event('aspect', { bubbles: true }));
  }

  /**
   * @template {Element} T
   * @param {string} selector
   * @param {new () => T} kind
   * @returns {T}
   */
  #part(selector, kind) {
    const part = this.element.querySelector(selector);
    if (!(part instanceof kind)) throw new Error(`the tile's template has no ${selector}`);
    return part;
  }
}
