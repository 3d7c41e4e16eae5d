/**
 * Where no WebRTC connection comes up: single pictures over HTTP, and the tile says so.
 * @module
 */
import { addressOf } from './api.js';

/** Pictures under way at a time: a browser keeps six connections to a server, and the wall needs some. */
const LANES = 3;
/** From one picture of a small tile to its next (ms). */
const PAUSE = 1_000;
/** The same for the large one. */
const LARGE_PAUSE = 250;
/** A camera may have to be opened first. */
const LIMIT = 15_000;

/**
 * Who wants pictures, the one that has waited longest first.
 * @type {Set<Stills>}
 */
const waiting = new Set();
let lanes = 0;

/** Single pictures of one camera, until it is closed. */
export class Stills {
  /** When the last one came (performance.now()). */
  lastAt = 0;
  /** Why none comes, in words. */
  trouble = '';
  #closed = false;
  #url = '';
  #name;
  #image;
  #isLarge;

  /**
   * @param {string} name of the camera
   * @param {HTMLImageElement} image shows them
   * @param {() => boolean} isLarge
   */
  constructor(name, image, isLarge) {
    this.#name = name;
    this.#image = image;
    this.#isLarge = isLarge;
    this.#queue();
  }

  close() {
    this.#closed = true;
    waiting.delete(this);
    this.#image.hidden = true;
    this.#image.removeAttribute('src');
    URL.revokeObjectURL(this.#url);
  }

  #queue() {
    waiting.add(this);
    next();
  }

  async fetch() {
    try {
      const url = addressOf(`cameras/${encodeURIComponent(this.#name)}/snapshot.jpg`);
      const width = Math.round(this.#image.parentElement?.clientWidth ?? 0);
      if (!this.#isLarge() && width > 0) url.searchParams.set('width', String(Math.max(160, Math.min(width * devicePixelRatio, 1920)) & ~1));
      const response = await fetch(url, { cache: 'no-store', signal: AbortSignal.timeout(LIMIT) });
      if (response.ok) await this.#show(await response.blob());
      else this.trouble = String((await response.json().catch(() => undefined))?.error?.message ?? '');
    } catch {
      this.trouble = 'the server cannot be reached';
    }
    if (!this.#closed) setTimeout(() => this.#closed || this.#queue(), this.#isLarge() ? LARGE_PAUSE : PAUSE);
  }

  /** @param {Blob} picture */
  async #show(picture) {
    if (this.#closed) return;
    const before = this.#url;
    this.#url = URL.createObjectURL(picture);
    this.#image.src = this.#url;
    await this.#image.decode().catch(() => {});
    URL.revokeObjectURL(before);
    if (this.#closed) return URL.revokeObjectURL(this.#url);
    this.#image.hidden = false;
    this.lastAt = performance.now();
    this.trouble = '';
  }
}

function next() {
  while (lanes < LANES && !document.hidden) {
    const [first] = waiting;
    if (!first) return;
    waiting.delete(first);
    lanes++;
    first.fetch().finally(() => {
      lanes--;
      next();
    });
  }
}
document.addEventListener('visibilitychange', next);
