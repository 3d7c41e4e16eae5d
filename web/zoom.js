/**
 * A closer look at the large picture: wheel, pinch, keys; dragged when it is larger than the screen.
 * @module
 */

/** Beyond this, pixels are all there is to see. */
const MOST = 8;
/** One notch of a wheel. */
const NOTCH = 1.2;
/** A pointer that moved less (CSS pixels) has not dragged but clicked. */
const CLICK = 6;

/** How far (CSS pixels) an arrow key moves a picture that is larger than the screen. */
const PAN = 60;

export class Zoom {
  #scale = 1;
  /** Of the picture's centre from the tile's, in CSS pixels. */
  #x = 0;
  #y = 0;
  /** By pointer id, where it is. @type {Map<number, { x: number, y: number }>} */
  #pointers = new Map();
  #dragged = false;
  #ending = new AbortController();
  #surface;
  #pictures;

  /**
   * @param {HTMLElement} surface takes the pointers
   * @param {HTMLElement[]} pictures that are shown larger, one upon the other
   */
  constructor(surface, pictures) {
    this.#surface = surface;
    this.#pictures = pictures;
    const { signal } = this.#ending;
    const on = (/** @type {string} */ type, /** @type {(event: any) => void} */ listener, options = {}) =>
      surface.addEventListener(type, listener, { signal, ...options });
    on('wheel', (event) => this.#onWheel(event), { passive: false });
    on('pointerdown', (event) => this.#onDown(event));
    on('pointermove', (event) => this.#onMove(event));
    for (const type of ['pointerup', 'pointercancel']) on(type, (event) => this.#pointers.delete(event.pointerId));
    // What dragged or looks closer is no click that closes the picture.
    on('click', (event) => this.#onClick(event), { capture: true });
    on('dblclick', () => this.reset());
  }

  /** How many times larger than the whole picture. */
  get scale() {
    return this.#scale;
  }

  /**
   * @param {string} key
   * @returns {boolean} whether it was one of these
   */
  onKey(key) {
    const notches = { '+': 1, '=': 1, '-': -1 }[key];
    if (notches) this.step(notches);
    if (key === '0') this.reset();
    const [x, y] = { ArrowLeft: [-PAN, 0], ArrowRight: [PAN, 0], ArrowUp: [0, -PAN], ArrowDown: [0, PAN] }[key] ?? [0, 0];
    return notches !== undefined || key === '0' || ((x !== 0 || y !== 0) && this.pan(x, y));
  }

  /** Shows the whole picture again, and lets go of the pointers. */
  close() {
    this.#ending.abort();
    this.reset();
  }

  reset() {
    this.#scale = 1;
    this.#move(0, 0);
  }

  /** @param {number} notches in, or out when negative */
  step(notches) {
    this.#zoom(NOTCH ** notches, 0, 0);
  }

  /**
   * Moves the view by so many CSS pixels, if it is zoomed at all.
   * @param {number} x
   * @param {number} y
   */
  pan(x, y) {
    if (this.#scale === 1) return false;
    this.#move(this.#x - x, this.#y - y);
    return true;
  }

  /** @param {WheelEvent} event */
  #onWheel(event) {
    event.preventDefault();
    const { x, y } = this.#fromCentre(event);
    this.#zoom(NOTCH ** -Math.sign(event.deltaY), x, y);
  }

  /** @param {PointerEvent} event */
  #onDown(event) {
    if (this.#pointers.size === 0) this.#dragged = false;
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  }

  /** @param {PointerEvent} event */
  #onMove(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    // Released where we did not hear of it.
    if (event.buttons === 0) return void this.#pointers.delete(event.pointerId);
    const now = { x: event.clientX, y: event.clientY };
    const others = [...this.#pointers].filter(([id]) => id !== event.pointerId);
    const step = Math.hypot(now.x - before.x, now.y - before.y);
    if (others.length === 0 && (this.#scale === 1 || (!this.#dragged && step < CLICK))) return;
    this.#dragged = true;
    this.#surface.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, now);
    const other = others[0]?.[1];
    if (!other) return this.#move(this.#x + now.x - before.x, this.#y + now.y - before.y);
    const distance = (/** @type {{ x: number, y: number }} */ one) => Math.hypot(one.x - other.x, one.y - other.y);
    const middle = this.#fromCentre({ clientX: (now.x + other.x) / 2, clientY: (now.y + other.y) / 2 });
    this.#zoom(distance(now) / Math.max(distance(before), 1), middle.x, middle.y);
    this.#move(this.#x + (now.x - before.x) / 2, this.#y + (now.y - before.y) / 2);
  }

  /** @param {MouseEvent} event */
  #onClick(event) {
    // A key's click has no place, and always means it.
    if (event.detail === 0 || (!this.#dragged && this.#scale === 1)) return;
    this.#dragged = false;
    event.stopImmediatePropagation();
    event.preventDefault();
  }

  /** @param {{ clientX: number, clientY: number }} event */
  #fromCentre({ clientX, clientY }) {
    const box = this.#surface.getBoundingClientRect();
    return { x: clientX - box.left - box.width / 2, y: clientY - box.top - box.height / 2 };
  }

  /**
   * What lies at (`x`, `y`) from the centre stays there.
   * @param {number} factor
   * @param {number} x
   * @param {number} y
   */
  #zoom(factor, x, y) {
    const before = this.#scale;
    this.#scale = Math.min(Math.max(before * factor, 1), MOST);
    const by = this.#scale / before;
    this.#move(x - (x - this.#x) * by, y - (y - this.#y) * by);
  }

  /**
   * @param {number} x
   * @param {number} y
   */
  #move(x, y) {
    const { clientWidth, clientHeight } = this.#surface;
    const within = (/** @type {number} */ at, /** @type {number} */ size) => {
      const most = (size * (this.#scale - 1)) / 2;
      return Math.min(Math.max(at, -most), most);
    };
    this.#x = within(x, clientWidth);
    this.#y = within(y, clientHeight);
    const isWhole = this.#scale === 1;
    const transform = isWhole ? '' : `translate(${this.#x}px, ${this.#y}px) scale(${this.#scale})`;
    for (const picture of this.#pictures) picture.style.transform = transform;
    this.#surface.classList.toggle('zoomed', !isWhole);
  }
}
