/**
 * In rooms where everyone sees everyone: shows this device's camera to the others, and here what they see of it.
 * @module
 */
import { cut } from './people.js';

/** @typedef {import('./client.js').PortalGun} PortalGun */

/** Where this device remembers what its people are called. */
const NAME_KEY = 'portald.name';
/** Longest wait (ms) for how one's own picture looks. */
const STYLE = 2_000;

export class Publisher {
  /** @type {MediaStream | undefined} */
  #stream;
  /** While the browser asks for it. @type {Promise<void> | undefined} */
  #starting;
  /** The view of ourselves. @type {HTMLElement | undefined} */
  #self;
  #name = remembered();
  #gun;
  #onChange;

  /**
   * @param {PortalGun} gun
   * @param {(stream: MediaStream | undefined) => void} onChange
   */
  constructor(gun, onChange) {
    this.#gun = gun;
    this.#onChange = onChange;
    gun.addEventListener('connection', (portal) => {
      if (!this.#stream || portal.isCamera) return;
      this.#tellName(portal.target.id);
      portal.addMediaStream(this.#stream);
    });
  }

  get isOn() {
    return this.#stream !== undefined;
  }

  /**
   * Asks for the camera, and shows it. Sound is sent only when somebody switches it on.
   * @throws {Error} whose message says to people what is wrong and what to do
   */
  start() {
    // A second click while the browser still asks must not lend a second camera, which nobody would give back.
    this.#starting ??= this.#start().finally(() => { this.#starting = undefined; });
    return this.#starting;
  }

  async #start() {
    // Without its style what one sees of oneself would push the wall aside.
    const [stream] = await Promise.all([lend({ video: { width: { ideal: 1280 }, height: { ideal: 720 } } }), style()]);
    this.#stream = stream;
    stream.getVideoTracks()[0].addEventListener('ended', () => this.stop());
    for (const portal of this.#people()) {
      this.#tellName(portal.target.id);
      portal.addMediaStream(stream);
    }
    this.#self = this.#view(stream);
    this.#onChange(stream);
  }

  stop() {
    for (const track of this.#stream?.getTracks() ?? []) this.#take(track);
    this.#stream = undefined;
    this.#self?.remove();
    this.#onChange(undefined);
  }

  #people() {
    return [...this.#gun.portals.values()].filter((portal) => !portal.isCamera);
  }

  /** @param {MediaStreamTrack} track that the others are no longer to get */
  #take(track) {
    for (const { peer } of this.#people()) {
      for (const sender of peer.getSenders()) if (sender.track === track) peer.removeTrack(sender);
    }
    track.stop();
    this.#stream?.removeTrack(track);
  }

  /** @param {string} id */
  #tellName(id) {
    this.#gun.signaler.send('name', this.#name, id);
  }

  /** @param {string} name */
  #rename(name) {
    this.#name = cut(name);
    remember(this.#name);
    for (const { target } of this.#people()) this.#tellName(target.id);
  }

  /** In or out; the others are sent nothing of a microphone that is off. */
  async #toggleSound() {
    const stream = this.#stream;
    if (!stream) return;
    const [track] = stream.getAudioTracks();
    if (track) return this.#take(track);
    const [sound] = (await lend({ audio: true })).getAudioTracks();
    if (this.#stream !== stream || stream.getAudioTracks().length > 0) return sound.stop();
    stream.addTrack(sound);
    for (const { peer } of this.#people()) peer.addTrack(sound, stream);
  }

  /**
   * What the others see, the way round that a mirror shows it, and without its sound.
   * @param {MediaStream} stream
   */
  #view(stream) {
    const video = Object.assign(document.createElement('video'), { srcObject: stream, muted: true, autoplay: true, playsInline: true });
    const caption = Object.assign(document.createElement('figcaption'), { textContent: 'You' });
    const name = Object.assign(document.createElement('input'),
      { value: this.#name, placeholder: 'Your name', maxLength: 40, autocomplete: 'nickname', ariaLabel: 'Your name, as the others see it' });
    name.addEventListener('change', () => this.#rename(name.value));
    const sound = Object.assign(document.createElement('button'), { type: 'button', textContent: 'Microphone' });
    sound.ariaPressed = 'false';
    sound.addEventListener('click', async () => {
      await this.#toggleSound().catch(({ message }) => { sound.title = message; });
      sound.ariaPressed = String(stream.getAudioTracks().length > 0);
    });
    const figure = document.createElement('figure');
    figure.id = 'self';
    figure.append(video, caption, name, sound);
    document.body.append(figure);
    return figure;
  }
}

/**
 * A stream of this device's.
 * @param {MediaStreamConstraints} wishes
 * @throws {Error} whose message says to people what is wrong and what to do
 */
async function lend(wishes) {
  if (!navigator.mediaDevices) throw new Error(insecure());
  try {
    return await navigator.mediaDevices.getUserMedia(wishes);
  } catch (error) {
    const device = wishes.video ? 'camera' : 'microphone';
    const name = error instanceof DOMException ? error.name : '';
    throw new Error(REASONS.get(name)?.replaceAll('{device}', device) ?? `The ${device} cannot be used: ${error}`);
  }
}

/** Over TLS, or from this device itself, the browser would have devices to lend. */
function insecure() {
  const [encrypted, local] = [new URL(location.href), new URL(location.href)];
  encrypted.protocol = 'https:';
  local.hostname = 'localhost';
  for (const url of [encrypted, local]) url.searchParams.delete('token');
  return 'Browsers lend their camera only to pages that came over HTTPS, or from the device itself. Write self_signed = true '
    + `under [server.tls] in portald.toml, start portald again, and open ${encrypted.href}. On the box itself ${local.href} will do.`;
}

const REASONS = new Map(Object.entries({
  NotAllowedError: 'The browser was told not to lend the {device} to this page. Allow it at the address bar, and try again.',
  NotFoundError: 'This device has no {device}.',
  NotReadableError: 'The {device} is in use by another program. Close that, and try again.',
}));

/** @type {Promise<void> | undefined} */
let styled;

/** Few publish; the others need no style for it. */
function style() {
  styled ??= new Promise((resolve) => {
    const sheet = Object.assign(document.createElement('link'), { rel: 'stylesheet', href: 'publish.css' });
    sheet.onload = sheet.onerror = () => resolve();
    // The camera is lent meanwhile, and nobody could give it back.
    setTimeout(() => resolve(), STYLE);
    document.head.append(sheet);
  });
  return styled;
}

function remembered() {
  try {
    return cut(localStorage.getItem(NAME_KEY));
  } catch {
    return ''; // Storage is off.
  }
}

/** @param {string} name */
function remember(name) {
  try {
    localStorage.setItem(NAME_KEY, name);
  } catch {
    // Remembered until the page is left.
  }
}
