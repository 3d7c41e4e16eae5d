/**
 * What who has the admin token changes on the status page: a camera switched off and on, its bit rates. It lasts until
 * portald starts again; then its configuration says how things are.
 * @module
 */
import { setText } from './api.js';

/** Longest wait for an answer (ms): an encoder may have to be stopped. */
const LIMIT = 10_000;
/** What bit rates can be, in kbit/s; the daemon says the same. */
const RATES = { min: '50', max: '100000' };

/** @typedef {{ name: string, title: string, enabled?: boolean, bitrate?: number, sub?: { bitrate: number } }} Camera */

/** The controls of one camera, in a cell of its row. */
export class Controls {
  #camera;
  #changed;
  #power = Object.assign(document.createElement('button'), { type: 'button', className: 'power' });
  #form = document.createElement('form');
  #main;
  #sub;
  #said = document.createElement('p');
  /** Whether somebody typed what was not sent yet. */
  #typed = false;

  /**
   * @param {Camera} camera of this box
   * @param {() => void} changed called when something was
   */
  constructor(camera, changed) {
    this.#camera = camera;
    this.#changed = changed;
    this.cell = document.createElement('td');
    this.cell.className = 'controls';
    this.#main = this.#rate('full');
    this.#sub = this.#rate('small');
    const set = Object.assign(document.createElement('button'), { type: 'submit', textContent: 'Set' });
    set.ariaLabel = `Set the bit rates of ${camera.title}`;
    this.#form.append(this.#main.label, this.#sub.label, set);
    this.#said.role = 'status';
    this.#said.hidden = true;
    this.#power.addEventListener('click', () => this.#send({ enabled: this.#camera.enabled === false }));
    this.#form.addEventListener('input', () => { this.#typed = true; });
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send(this.#rates());
    });
    this.cell.append(this.#power, this.#form, this.#said);
    this.show(camera);
  }

  /** @param {Camera} camera as it is now */
  show(camera) {
    this.#camera = camera;
    const what = camera.enabled ? 'Switch off' : 'Switch on';
    setText(this.#power, what);
    this.#power.ariaLabel = `${what} ${camera.title}`;
    if (this.#typed || this.#form.contains(document.activeElement)) return;
    this.#main.input.value = String(camera.bitrate ?? '');
    this.#sub.input.value = String(camera.sub?.bitrate ?? '');
  }

  /** What differs from how it is. */
  #rates() {
    const [bitrate, sub] = [this.#main.input.valueAsNumber, this.#sub.input.valueAsNumber];
    return {
      ...(bitrate !== this.#camera.bitrate && { bitrate }),
      ...(sub !== this.#camera.sub?.bitrate && { sub: { bitrate: sub } }),
    };
  }

  /** @param {string} name of the rendition */
  #rate(name) {
    const input = Object.assign(document.createElement('input'), { type: 'number', required: true, step: '1', ...RATES });
    input.ariaLabel = `Bit rate of the ${name} picture of ${this.#camera.title}, kbit/s`;
    const label = document.createElement('label');
    label.append(`${name} `, input, ' kbit/s');
    return { input, label };
  }

  /** @param {Record<string, unknown>} change */
  async #send(change) {
    const buttons = this.cell.querySelectorAll('button');
    for (const button of buttons) button.disabled = true;
    const fault = await patch(this.#camera.name, change);
    for (const button of buttons) button.disabled = false;
    setText(this.#said, fault ?? 'Done; until portald starts again.');
    this.#said.hidden = false;
    this.#said.dataset.kind = fault ? 'fault' : 'done';
    if (fault) return;
    this.#typed = false;
    this.#changed();
  }
}

/**
 * @param {string} name of a camera
 * @param {Record<string, unknown>} change
 * @returns {Promise<string | undefined>} what went wrong, in words
 */
async function patch(name, change) {
  try {
    const response = await fetch(new URL(`api/cameras/${encodeURIComponent(name)}`, location.href), {
      method: 'PATCH', headers: { 'content-type': 'application/json' }, body: JSON.stringify(change),
      signal: AbortSignal.timeout(LIMIT),
    });
    if (response.ok) return undefined;
    if (response.status === 401) return 'The login as admin has ended: log in again.';
    const { error } = await response.json();
    return String(error.message);
  } catch {
    return 'The server did not answer; whether it was changed shows above.';
  }
}
