/**
 * How pages look, told by structure and not by pixels: a wall with cameras of every kind, and what is wrong with what a
 * page shows, in words.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { artifacts, Daemon } from './harness.mjs';

/** A phone, a desk and a large television. */
export const SCREENS = [{ width: 360, height: 740 }, { width: 1280, height: 800 }, { width: 3840, height: 2160 }];
/** Rooms are named after how many cameras they have. */
export const COUNTS = [1, 2, 5, 12, 30];
/** Lets the tests switch cameras off. */
const TOKEN = 'look-at-this';

/** Where no camera is; as long as the names that udev makes. */
const NOWHERE = '/dev/v4l/by-id/usb-Sonix_Technology_Co.__Ltd._USB_2.0_Camera_SN0001';
const LONG = 'Garage, the long drive and the gate behind the old oak tree';

/**
 * One of each kind first, as small rooms have only the first ones. Pictures are few, small and slow, so that the browser
 * and the encoders have one processor's time between them.
 * @type {[name: string, title: string, source: string, width?: number, height?: number][]}
 */
const KINDS = [
  ['front-door', 'Front door', 'test:ball'],
  ['garage', LONG, 'test:smpte'],
  ['gone', 'Garden', `${NOWHERE}-video-index0`],
  ['stairs', 'Stairs', 'test:pinwheel', 90, 160],
  ['off', 'Nursery', 'test:ball'],
  ['kitchen', 'Кухня и прихожая', 'test:gradient', 160, 120],
  ['refused', 'Boathouse', 'rtsp://127.0.0.1:9/none'],
  ['gate', 'مدخل البيت', 'test:spokes'],
  ['long-gone', `${LONG}, seen from above`, `${NOWHERE}_with_a_very_long_name_that_goes_on`],
  ['terrace', 'Βεράντα', 'test:circular'],
  ['letter-box', 'Donaudampfschifffahrtsgesellschaftskapitän', 'test:colors'],
  ['attic', 'Attic', `${NOWHERE}-video-index2`],
];

/** @param {number} index */
function camera(index) {
  const [name, title, source, width = 160, height = 90] = KINDS[index] ?? [`shed-${index}`, `Shed ${index}`, index % 3 ? `/dev/video${100 + index}` : 'test:snow'];
  const rooms = ['home', ...(index < 2 ? ['mesh'] : []), ...COUNTS.filter((count) => count > index).map((count) => `n${count}`)];
  return `[camera.${name}]\n${lines({ title, rooms, source, width, height, framerate: 2, bitrate: 60 })}`
    + `[camera.${name}.sub]\n${lines({ width: Math.min(width, 120), bitrate: 50 })}`;
}

/** @param {Record<string, unknown>} table */
function lines(table) {
  return Object.entries(table).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`).join('');
}

/** A daemon with 30 cameras, a room `n5` with five of them, and so on, and a room that wants a password; one camera is switched off. */
export async function startEveryKind() {
  const file = path.join(artifacts, 'look-token');
  writeFileSync(file, TOKEN);
  writeFileSync(`${file}-of-room`, 'nobody-knows');
  const rooms = `${COUNTS.map((count) => `[room.n${count}]\nmode = "wall"\n`).join('')}[room.locked]\ntoken_file = ${JSON.stringify(`${file}-of-room`)}\n`;
  const cameras = Array.from({ length: Math.max(...COUNTS) }, (_, index) => camera(index)).join('');
  const daemon = await Daemon.start(`${rooms}[access]\nadmin_token_file = ${JSON.stringify(file)}\n${cameras}`);
  await switchCamera(daemon, 'off', false);
  return daemon;
}

/**
 * @param {Daemon} daemon of {@link startEveryKind}
 * @param {string} name
 * @param {boolean} enabled
 */
export async function switchCamera(daemon, name, enabled) {
  const answer = await fetch(`${daemon.url}api/cameras/${name}`, {
    method: 'PATCH', headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' }, body: JSON.stringify({ enabled }),
  });
  if (!answer.ok) throw new Error(await answer.text());
}
