/**
 * What the address says, and how the daemon is asked.
 * @module
 */

/** Longest wait for an answer of the API (ms). */
const LIMIT = 4_000;

/** The query of the page's address. */
export const wanted = new URLSearchParams(location.search);
/** The password or a room's token, of screens without a keyboard. */
export const token = wanted.get('token');

/**
 * An address of the daemon, beside this page: behind a proxy it may have a prefix.
 * @param {string} path without a slash before it
 */
export function addressOf(path) {
  const url = new URL(path, location.href);
  if (token) url.searchParams.set('token', token);
  return url;
}

/**
 * @param {string} path of the daemon's API
 * @param {boolean} [stays] whether who is refused stays on the page
 * @returns {Promise<unknown>} undefined when there is no answer
 */
export async function getJson(path, stays = false) {
  try {
    const response = await fetch(addressOf(path), { signal: AbortSignal.timeout(LIMIT), cache: 'no-store' });
    if (response.status === 401 && !stays) logIn(wanted.get('room'));
    return response.ok ? await response.json() : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Leaves for the login page, which comes back here. Without the token, which did not help.
 * @param {string | null} room the room that is to be opened
 */
export function logIn(room) {
  const here = new URL(location.href);
  if (wanted.has('kiosk')) leaveAddress(here.href);
  here.searchParams.delete('token');
  const login = new URL('login', location.href);
  if (room) login.searchParams.set('room', room);
  // This page was let in once, so it can say why it no longer is.
  login.searchParams.set('again', '');
  login.searchParams.set('next', here.pathname + here.search);
  location.replace(login);
}

/**
 * For login.js: where nobody is there to log in, it looks whether this address opens the wall again. It may have the token.
 * @param {string} address
 */
function leaveAddress(address) {
  try {
    sessionStorage.setItem('kiosk', address);
  } catch {
    // Storage is off: then the address without the token is tried.
  }
}

/**
 * @param {HTMLElement} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {string} id of an element that the page has */
export function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}
