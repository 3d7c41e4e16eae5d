/**
 * What to do when there is nothing to show.
 * @module
 */
import { byId, setText } from './api.js';

/** Something to do: what to type or write, and what that does. @typedef {[string, string]} Step */
/** @typedef {{ title: string, text: string, steps: Step[] }} Advice */

/**
 * @param {{ room: string, only: string | null, refusal?: string, told: boolean, lost: boolean, hidden: number }} situation
 *   `refusal`: what the server said of us; `told`: whether we know what cameras there are; `lost`: whether the server
 *   has been out of reach for a while; `hidden`: cameras that are not shown because somebody chose so
 * @returns {Advice | undefined} nothing where one need only wait
 */
export function advice({ room, only, refusal, told, lost, hidden }) {
  if (refusal === 'room_full') {
    return { title: 'This room is full', text: 'As many are watching as the server allows. It is tried again.', steps: [] };
  }
  if (refusal === 'too_many_attempts') {
    return { title: 'Too many wrong passwords', text: 'They came from your address. It is tried again.', steps: [] };
  }
  if (refusal?.startsWith('room_')) {
    return {
      title: `There is no room “${room}” here`,
      text: 'Choose another at the top, or add it to portald.toml:',
      steps: [[`[room.${room}]`, '']],
    };
  }
  if (!told) {
    return lost
      ? { title: 'The server cannot be reached', text: 'The wall appears as soon as it answers.', steps: [] }
      : undefined;
  }
  if (only !== null) {
    return {
      title: `There is no camera “${only}” in this room`,
      text: 'Cameras are named in portald.toml, as [camera.NAME].',
      steps: [['portald devices', 'lists what is plugged in']],
    };
  }
  if (hidden > 0) {
    return { title: 'All cameras are hidden', text: 'On this device only. The button at the top shows them again.', steps: [] };
  }
  return {
    title: 'No camera yet',
    text: 'Plug a camera into this box, or name one in its configuration. On the box:',
    steps: [
      ['portald devices', 'lists the cameras that were found'],
      ['portald run --demo', 'shows two test cameras'],
      ['portald.toml', 'names cameras in [camera.NAME] tables'],
    ],
  };
}

/**
 * Puts it on the page, or takes it away.
 * @param {Advice | undefined} what
 */
export function show(what) {
  byId('notice').hidden = what === undefined;
  if (!what) return;
  setText(byId('notice-title'), what.title);
  setText(byId('notice-text'), what.text);
  const list = byId('notice-steps');
  if (list.textContent !== what.steps.flat().join('')) list.replaceChildren(...what.steps.map(stepItem));
}

/** @param {Step} step */
function stepItem([code, text]) {
  const item = document.createElement('li');
  item.append(Object.assign(document.createElement('code'), { textContent: code }), text);
  return item;
}
