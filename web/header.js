/**
 * The line at the top: which rooms there are, and what can be done with all of the wall.
 * @module
 */
import { byId, getJson, setText, token } from './api.js';

/** As `/api/rooms` lists them. @typedef {{ name: string, mode?: string, members?: { kind: string }[] }} Room */

/** How long (ms) until it is asked again what rooms there are. */
const AGAIN = 2_000;

/**
 * The rooms, asked for until they are told: a box may boot at the same time as its screen.
 * @returns {Promise<Room[]>}
 */
export async function learnRooms() {
  for (;;) {
    const rooms = await getJson('api/rooms');
    if (Array.isArray(rooms)) return rooms;
    await new Promise((resolve) => setTimeout(resolve, AGAIN));
  }
}

/** In and out again. */
export function fullScreen() {
  const change = document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen?.();
  change?.catch(() => {});
}

/**
 * The room of a page that names none: `home`, as in the default config, else one with a camera, else any.
 * @param {Room[]} rooms
 */
export function defaultRoom(rooms) {
  const isHome = (/** @type {{ name: string }} */ { name }) => name === 'home';
  const hasCamera = (/** @type {typeof rooms[number]} */ { members }) => members?.some(({ kind }) => kind === 'camera');
  return (rooms.find(isHome) ?? rooms.find(hasCamera) ?? rooms[0])?.name ?? 'home';
}

/**
 * @param {Room[]} rooms
 * @param {string} current the room shown
 */
export function showRooms(rooms, current) {
  if (rooms.length < 2) return;
  const links = rooms.map(({ name }) => {
    const query = new URLSearchParams(token ? { room: name, token } : { room: name });
    const link = Object.assign(document.createElement('a'), { textContent: name, href: `?${query}` });
    if (name === current) link.ariaCurrent = 'page';
    return link;
  });
  byId('rooms').replaceChildren(...links);
  links.find(({ ariaCurrent }) => ariaCurrent)?.scrollIntoView({ block: 'nearest', inline: 'center' });
}

/**
 * In a room where everyone sees everyone, this device may show its camera.
 * @param {{ room: string, only: string | null, gun: import('./client.js').PortalGun }} wall
 * @param {Room[]} rooms
 */
export async function offerToPublish(wall, rooms) {
  if (rooms.find(({ name }) => name === wall.room)?.mode !== 'mesh' || wall.only !== null) return;
  const { Publisher } = await import('./publish.js');
  const button = byId('publish');
  const publisher = new Publisher(wall.gun, (stream) => {
    setText(button, stream ? 'Stop showing my camera' : 'Show my camera');
    button.ariaPressed = String(stream !== undefined);
  });
  button.hidden = false;
  button.addEventListener('click', async () => {
    byId('hint').hidden = true;
    if (publisher.isOn) return publisher.stop();
    await publisher.start().catch((error) => {
      setText(byId('hint'), error.message);
      byId('hint').hidden = false;
    });
  });
}
