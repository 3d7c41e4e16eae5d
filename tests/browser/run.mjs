/**
 * `node run.mjs chromium|firefox [FILE...]`: the tests in one browser, one file after the other. Whatever they leave
 * running is ended, and counts as a failure.
 */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/**
 * What is not run in Firefox, and why. What is new is run in both, unless it is said here.
 * @type {Record<string, string>}
 */
const CHROMIUM_ALONE = {
  'client.test.mjs': 'it needs no browser',
  'latency.test.mjs': 'Firefox tells no page when a picture was taken (captureTimestamp), and the wall then tells no latency',
  'pure.test.mjs': 'it needs no browser',
  'soak.test.mjs': 'it needs no browser',
  'touch.test.mjs': 'fingers are moved, and less motion is wished for, by protocols that Firefox does not speak',
  'transfer.test.mjs': 'what went over the wire is counted by a protocol of Chromium\'s',
  'types.test.mjs': 'it needs no browser',
};
/** So long (ms) a browser may take to end after it was told to. */
const ENDING = 10_000;
/** In the environment of every process of this run, so that what is left of it is known. */
const MARK = `TESTS_OF_PORTALD=${randomUUID()}`;

const home = fileURLToPath(new URL('.', import.meta.url));
const [engine, ...wanted] = process.argv.slice(2);
const all = wanted.length > 0 ? wanted : readdirSync(home).filter((name) => name.endsWith('.test.mjs')).sort();
const files = all.filter((name) => engine !== 'firefox' || !(name in CHROMIUM_ALONE));
for (const name of all) if (!files.includes(name)) console.log(`not in Firefox: ${name}, because ${CHROMIUM_ALONE[name]}`);

// Without a name node would take every file.
if (files.length === 0) process.exit(0);

const [name, value] = MARK.split('=');
const tests = spawn(process.execPath, ['--test', '--test-concurrency=1', '--test-timeout=600000', ...files], {
  cwd: home, stdio: 'inherit', env: { ...process.env, PORTALD_BROWSER: engine, [name]: value },
});
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.on(signal, () => tests.kill(signal));
const [code] = await once(tests, 'exit');

const end = Date.now() + ENDING;
while (leftOver().length > 0 && Date.now() < end) await sleep(100);
const left = leftOver();
for (const { pid, command } of left) {
  console.error(`left running, and ended: ${pid} ${command}`);
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // The one before it took it along.
  }
}
process.exitCode = code === 0 && left.length === 0 ? 0 : 1;

/** Processes of this run. */
function leftOver() {
  return readdirSync('/proc').filter((entry) => /^\d+$/.test(entry)).flatMap((pid) => {
    try {
      const isOurs = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(MARK);
      return isOurs ? [{ pid: Number(pid), command: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ') }] : [];
    } catch {
      return []; // It has ended meanwhile, or is somebody else's.
    }
  });
}
