// The virtual machine as a test sees it: commands go in, their output comes out. The other side is guest/agent.sh.
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const share = need('PORTALD_VM_SHARE');
const qemu = Number(need('PORTALD_VM_PID'));
export const url = need('PORTALD_VM_URL');
export const logs = need('PORTALD_VM_LOGS');

// Counted on from what the tests before this one asked for.
let last = readdirSync(join(share, 'ctl')).filter((name) => name.endsWith('.cmd')).length;
let busy = Promise.resolve();

/**
 * For a guest's shell that runs GStreamer's tools: a registry of root's own. What root writes into the daemon's the daemon cannot read,
 * and its next start would scan all plugins, which takes a minute.
 */
export const GSTREAMER = 'cp /var/cache/vm-gstreamer/registry.bin /run/registry.bin; export GST_REGISTRY=/run/registry.bin ORC_CODE=backup';

/**
 * Runs a shell command in the guest, as root, after those before it; resolves to what it printed.
 * Throws with that text when it fails, takes longer than `seconds`, or the machine has stopped.
 */
export function guest(command, { seconds = 120 } = {}) {
  const result = busy.then(() => run(command, seconds));
  busy = result.catch(() => {});
  return result;
}

/** The same, but a failure is an answer too: { code, text }. */
export async function tryGuest(command, options) {
  try {
    return { code: 0, text: await guest(command, options) };
  } catch (error) {
    if (error.code === undefined) throw error;
    return { code: error.code, text: error.text };
  }
}

/** Waits until `ask` returns something true, asking again and again; says what it waited for and what it saw last if it never does. */
export async function until(what, ask, { seconds = 60, every = 250 } = {}) {
  const end = Date.now() + seconds * 1000;
  let seen;
  for (;;) {
    try {
      seen = await ask();
      if (seen) return seen;
    } catch (error) {
      seen = error.message;
    }
    if (Date.now() > end) throw new Error(`waited ${seconds} s for ${what}; saw last: ${JSON.stringify(seen)}`);
    await sleep(every);
  }
}

/** Puts a text on the shared folder; the guest sees it as /share/NAME. */
export function put(name, text) {
  writeFileSync(join(share, name), text);
}

async function run(command, seconds) {
  last += 1;
  const path = (ending) => join(share, 'ctl', `${last}.${ending}`);
  // The guest's own time limit comes first, so that a hung command leaves the agent free for the next one (to look at why).
  writeFileSync(path('cmd.tmp'), `exec timeout --kill-after=5 ${seconds} bash -o pipefail -c ${quote(command)}\n`);
  renameSync(path('cmd.tmp'), path('cmd'));
  const end = Date.now() + (seconds + 30) * 1000;
  while (!existsSync(path('rc'))) {
    if (!running(qemu)) throw new Error(`the virtual machine stopped during: ${command}; see ${logs}/console.log`);
    if (Date.now() > end) throw new Error(`the virtual machine does not answer since: ${command}; see ${logs}/console.log`);
    await sleep(50);
  }
  const code = Number(readFileSync(path('rc'), 'utf8'));
  const text = readFileSync(path('out'), 'utf8');
  if (code !== 0) {
    const why = code === 124 || code === 137 ? `took longer than ${seconds} s` : `exit code ${code}`;
    throw Object.assign(new Error(`in the guest: ${command}: ${why}\n${text}`), { code, text });
  }
  return text;
}

function running(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function quote(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function need(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run this test through tests/vm/run.sh`);
  return value;
}
