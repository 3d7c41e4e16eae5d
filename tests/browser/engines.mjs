/** The browsers that the tests are run in: Debian's Chromium, and Debian's Firefox with `PORTALD_BROWSER=firefox`. */
import path from 'node:path';
import { chromium, firefox } from 'playwright-core';

/** @type {'chromium' | 'firefox'} */
export const ENGINE = /** @type {any} */ (process.env.PORTALD_BROWSER || 'chromium');

/** What its cameras come in: a Firefox that was never online has no H.264. */
export const CODEC = ENGINE === 'firefox' ? 'VP8' : 'H264';

/** What either needs to run unattended, with a webcam that is none, and without a word to the outside. */
const LAUNCH = {
  chromium: (more) => chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--use-fake-device-for-media-stream',
      '--use-fake-ui-for-media-stream', ...more,
    ],
  }),
  // WebDriver BiDi, which every Firefox speaks; without a channel Playwright wants a Firefox of its own making.
  firefox: () => firefox.launch({
    channel: 'moz-firefox',
    executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
    firefoxUserPrefs: {
      // What is saved is saved, and nobody is asked where.
      'browser.download.useDownloadDir': true,
      'browser.download.always_ask_before_handling_new_types': false,
      'media.navigator.streams.fake': true,
      'media.navigator.permission.disabled': true,
      // A public name that leads here, as DNS rebinding makes them.
      'network.dns.localDomains': 'evil.test,box.lan',
    },
  }),
};

/**
 * @param {string[]} [more] Chromium's arguments
 * @returns {Promise<import('playwright-core').Browser>}
 */
export function launch(more = []) {
  const start = LAUNCH[ENGINE];
  if (!start) throw new Error(`PORTALD_BROWSER=${ENGINE}: there is ${Object.keys(LAUNCH).join(' and ')}`);
  return start(more);
}

/**
 * Whether what Playwright tells as an uncaught error is none. In Firefox it passes on everything that the console has in red:
 * that a server which is away cannot be reached, or a socket that was being opened was let go; that a connection failed, which the page then renews by itself (whether it
 * does is what the tests look at); and that the page's policy refused the style,
 * `body {}`, which Playwright itself adds before each screenshot.
 * @param {Error} error
 */
export function isNoFault({ message }) {
  return ENGINE === 'firefox'
    && /^Firefox can’t establish a connection|^The connection to ws:\S+ was interrupted|ICE failed|'sha256-YjaKGiklmzC6wjXA513HAMmzus8VE61XCOT\+SmwNZWA='/.test(message);
}

/**
 * @param {import('playwright-core').Page} page
 * @param {number} x
 * @param {number} y
 */
export async function doubleClick(page, x, y) {
  await page.mouse.dblclick(x, y);
  if (ENGINE !== 'firefox') return;
  // Playwright sends each press as a command of its own, and Firefox takes for a double click only presses of one.
  await page.evaluate(([x, y]) => {
    const at = { bubbles: true, cancelable: true, clientX: x, clientY: y, detail: 2 };
    document.elementFromPoint(x, y)?.dispatchEvent(new MouseEvent('dblclick', at));
  }, [x, y]);
}

/**
 * Where a file is that a page saved. Firefox gives it its own name, and Playwright expects another.
 * @param {import('playwright-core').Download} download
 */
export async function savedAs(download) {
  const expected = await download.path();
  return ENGINE === 'firefox' ? path.join(path.dirname(expected), download.suggestedFilename()) : expected;
}
