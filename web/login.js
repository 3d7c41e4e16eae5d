/**
 * A screen that nobody looks after, and that is no longer let in, is back on the wall as soon as it is let in again: when the
 * password is the old one again, or when somebody logged in elsewhere in the same browser. For all others the form needs no script.
 * @module
 */

/** How often (ms) it is tried. A wrong token in the address counts each time, and ten a minute are too many. */
const EVERY = 30_000;
/** Longest wait (ms) for an answer. */
const ANSWER = 10_000;

const next = /** @type {HTMLInputElement} */ (document.querySelector('input[name="next"]')).value;
// This page is there instead of the wall, or the wall has gone to it and left its whole address.
const addresses = [location.href, takeAddress(), next].map((one) => new URL(one || '.', location.href));
const wall = addresses.find(({ searchParams }) => searchParams.has('kiosk'));

if (wall) {
  setInterval(async () => {
    const answer = await fetch(wall, { cache: 'no-store', signal: AbortSignal.timeout(ANSWER) }).catch(() => undefined);
    if (answer?.ok) location.replace(wall);
  }, EVERY);
}

/** What api.js has left, once. */
function takeAddress() {
  try {
    const address = sessionStorage.getItem('kiosk');
    sessionStorage.removeItem('kiosk');
    return address;
  } catch {
    return null; // Storage is off.
  }
}
