/**
 * What this device remembers of a room's wall: the order of its tiles, and which of them are hidden.
 * @module
 */

/** More than a wall has; what was stored by somebody else is not trusted to be short. */
const MOST = 1_000;

export class Memory {
  #key;
  /** Member ids, those moved by hand before all others. @type {string[]} */
  #order = [];
  /** Member ids. @type {Set<string>} */
  #hidden = new Set();

  /** @param {string} room */
  constructor(room) {
    this.#key = `portald.wall.${room}`;
    this.#read();
  }

  /** How many are hidden of `ids`. @param {Iterable<string>} ids */
  hiddenOf(ids) {
    return [...ids].filter((id) => this.#hidden.has(id)).length;
  }

  /** @param {string} id */
  isHidden(id) {
    return this.#hidden.has(id);
  }

  /** @param {string} id */
  hide(id) {
    this.#hidden.add(id);
    this.#write();
  }

  showAll() {
    this.#hidden.clear();
    this.#write();
  }

  /**
   * `ids` in the order to show them; those this device knows nothing of stay where they would be, at the end.
   * @param {string[]} ids in the daemon's order
   */
  sorted(ids) {
    const rank = new Map(this.#order.map((id, index) => [id, index]));
    return ids.toSorted((a, b) => (rank.get(a) ?? Infinity) - (rank.get(b) ?? Infinity) || 0);
  }

  /**
   * Puts `id` `by` places further back among `ids`, which is how they are shown now.
   * @param {string} id
   * @param {number} by
   * @param {string[]} ids
   */
  move(id, by, ids) {
    const at = ids.indexOf(id);
    const to = Math.min(Math.max(at + by, 0), ids.length - 1);
    if (at < 0 || to === at) return false;
    const order = ids.toSpliced(at, 1).toSpliced(to, 0, id);
    this.#order = order;
    this.#write();
    return true;
  }

  #read() {
    try {
      const { order, hidden } = JSON.parse(localStorage.getItem(this.#key) ?? '{}');
      const ids = (/** @type {unknown} */ list) =>
        (Array.isArray(list) ? list : []).filter((id) => typeof id === 'string').slice(0, MOST);
      this.#order = ids(order);
      this.#hidden = new Set(ids(hidden));
    } catch {
      // Storage is off, or what is in it is not ours: the wall is as the daemon says.
    }
  }

  #write() {
    try {
      localStorage.setItem(this.#key, JSON.stringify({ order: this.#order.slice(0, MOST), hidden: [...this.#hidden].slice(0, MOST) }));
    } catch {
      // Remembered until the page is left.
    }
  }
}
