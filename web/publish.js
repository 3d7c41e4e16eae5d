/**
 * In rooms where everyone sees everyone: shows this device's camera to the others.
 * @module
 */

/** @typedef {import('./client.js').PortalGun} PortalGun */

export class Publisher {
  /** @type {MediaStream | undefined} */
  #stream;
  #gun;
  #onChange;

  /**
   * @param {PortalGun} gun
   * @param {(stream: MediaStream | undefined) => void} onChange
   */
  constructor(gun, onChange) {
    this.#gun = gun;
    this.#onChange = onChange;
    gun.addEventListener('connection', (/** @type {import('./portal.js').Portal} */ portal) => {
      if (this.#stream && !portal.isCamera) portal.addMediaStream(this.#stream);
    });
  }

  get isOn() {
    return this.#stream !== undefined;
  }

  /**
   * Asks for the camera, and shows it.
   * @throws {Error} whose message says to people what is wrong and what to do
   */
  async start() {
    if (!navigator.mediaDevices) {
      throw new Error('Browsers lend their camera only to pages that came over HTTPS, or from this device itself. '
        + 'Set self_signed = true in [server.tls] of portald.toml, and open the wall with https://');
    }
    try {
      const video = { width: { ideal: 1280 }, height: { ideal: 720 } };
      // Many tablets have no microphone to lend, or nobody wants it heard.
      this.#stream = await navigator.mediaDevices.getUserMedia({ video, audio: true })
        .catch(() => navigator.mediaDevices.getUserMedia({ video }));
    } catch (error) {
      const name = error instanceof DOMException ? error.name : '';
      throw new Error(REASONS.get(name) ?? `The camera cannot be used: ${error}`);
    }
    for (const track of this.#stream.getTracks()) track.addEventListener('ended', () => this.stop());
    for (const portal of this.#gun.portals.values()) if (!portal.isCamera) portal.addMediaStream(this.#stream);
    this.#onChange(this.#stream);
  }

  stop() {
    const tracks = this.#stream?.getTracks() ?? [];
    this.#stream = undefined;
    for (const { peer } of this.#gun.portals.values()) {
      for (const sender of peer.getSenders()) if (sender.track && tracks.includes(sender.track)) peer.removeTrack(sender);
    }
    for (const track of tracks) track.stop();
    this.#onChange(undefined);
  }
}

const REASONS = new Map(Object.entries({
  NotAllowedError: 'The browser was told not to lend its camera to this page. Allow it at the address bar, and try again.',
  NotFoundError: 'This device has no camera.',
  NotReadableError: 'The camera is in use by another program. Close that, and try again.',
}));
