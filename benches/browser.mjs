/**
 * What the benchmarks' scripts for Chromium share. Each writes its result as JSON to its standard output.
 */
import { chromium } from '../tests/browser/node_modules/playwright-core/index.mjs';

/** Longest time for all of a script (ms). */
const LIMIT = 90_000;

/**
 * Runs `work` in a browser of its own, and ends that whatever happens.
 * @param {(browser: import('playwright-core').Browser) => Promise<unknown>} work
 * @param {number} [limit] the longest time for it (ms)
 */
export async function withBrowser(work, limit = LIMIT) {
  // A page or a browser that hangs must not keep the benchmark; the browser ends with this process.
  const overtime = setTimeout(() => {
    console.error(`not done within ${limit / 1000} s`);
    process.exit(1);
  }, limit);
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
  try {
    console.log(JSON.stringify(await work(browser)));
  } finally {
    await browser.close();
    clearTimeout(overtime);
  }
}
