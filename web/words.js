/**
 * The words for what a tile shows, or why it does not.
 * @module
 */

/** What a camera's state is called, where it explains why there is no picture. */
export const HEADLINES = new Map(Object.entries({
  absent: 'Camera not connected',
  stalled: 'No picture from the camera',
  backoff: 'Camera failed, trying again',
  disabled: 'Switched off',
}));
/** The same in a word or two, beside the title. */
export const BADGES = new Map(Object.entries({ absent: 'not connected', stalled: 'no picture', backoff: 'failed', disabled: 'off' }));

/** What a tile with single pictures means. */
export const STILLS_WHY = 'single pictures, because no WebRTC connection comes up (is UDP blocked, or WebRTC switched off?)';
/** The same while nobody has told us of the camera over the WebSocket. */
export const NO_SOCKET_WHY = 'single pictures, because no WebSocket to the server opens (does a proxy refuse it?)';
/** The same where the browser refuses to play by itself. */
export const TAP_WHY = 'single pictures, because this browser plays none before a tap';

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

/**
 * When it was, by this device's clock: with the day unless it is today.
 * @param {number} at Unix time in milliseconds
 */
export function clock(at) {
  const time = new Date(at);
  const hour = /** @type {const} */ ({ hour: '2-digit', minute: '2-digit' });
  return time.toDateString() === new Date().toDateString()
    ? time.toLocaleTimeString([], hour)
    : time.toLocaleString([], { day: 'numeric', month: 'short', ...hour });
}
