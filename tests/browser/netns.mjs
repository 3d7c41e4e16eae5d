/**
 * Network namespaces, made without privileges: a box and a desk in two networks with a router between them, which is
 * the test itself. Everything in them ends with the test, however that ends.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, readlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** User, network, mount and process namespaces of our own; the first process in them takes all others with it. */
const UNSHARE = ['--user', '--map-root-user', '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
const HOME = path.dirname(fileURLToPath(import.meta.url));
const environment = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };

/** Why this machine makes no such namespaces; '' where it does. */
export async function whyNot() {
  try {
    await run('unshare', [...UNSHARE, 'ip', 'rule', 'add', 'pref', '1', 'ipproto', 'udp', 'blackhole'], { env: environment });
    return '';
  } catch (error) {
    return `this machine makes no namespaces for us: ${String(error.stderr || error.message).trim()}`;
  }
}

/**
 * Runs a file of tests inside, its output ours.
 * @param {string} file beside this one
 * @returns {Promise<number>} its exit code
 */
export async function runInside(file) {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'unshare', ...UNSHARE, process.execPath, path.join(HOME, file)], { env: environment, stdio: 'inherit' });
  const [code] = await once(child, 'exit');
  return code ?? 1;
}

/** The router's rule that swallows UDP without a word, as a firewall does. */
const NO_UDP = ['rule', 'add', 'pref', '1', 'ipproto', 'udp', 'blackhole'];

/** Makes this network namespace a router. */
export async function route() {
  await ip('link', 'set', 'lo', 'up');
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
}

/** From now on, no UDP gets from one machine to another. */
export async function blockUdp() {
  await ip(...NO_UDP);
}

export async function allowUdp() {
  await ip('rule', 'del', 'pref', '1');
}

/** A machine behind the router. */
export class Machine {
  /**
   * @param {string} name of at most 10 letters
   * @param {number} network its addresses are 10.9.NETWORK.2 and so on, the router's 10.9.NETWORK.1
   */
  static async start(name, network) {
    const machine = new Machine();
    machine.name = name;
    machine.process = spawn('unshare', ['--net', 'sleep', 'infinity'], { env: environment, stdio: 'ignore' });
    const own = readlinkSync('/proc/self/ns/net');
    while (readlinkSync(`/proc/${machine.process.pid}/ns/net`) === own) await sleep(20);
    await machine.plug('eth0');
    await machine.ip('link', 'set', 'lo', 'up');
    await machine.move(network);
    return machine;
  }

  /** A cable from `device` of the machine to the router. @param {string} device */
  async plug(device) {
    const far = `${this.name}-${device}`;
    await ip('link', 'add', far, 'type', 'veth', 'peer', 'name', device, 'netns', String(this.process.pid));
    await ip('link', 'set', far, 'up');
    await this.ip('link', 'set', device, 'up');
  }

  /**
   * Puts `device` into another network, where no address of before is of use.
   * @param {number} network
   */
  async move(network, device = 'eth0') {
    const far = `${this.name}-${device}`;
    await this.ip('addr', 'flush', 'dev', device);
    await ip('addr', 'flush', 'dev', far);
    await ip('addr', 'add', `10.9.${network}.1/24`, 'dev', far);
    await this.ip('addr', 'add', `10.9.${network}.2/24`, 'dev', device);
    // The first cable leads to everywhere, the others to their own network.
    if (device === 'eth0') await this.ip('route', 'replace', 'default', 'via', `10.9.${network}.1`);
  }

  /** @param {string[]} words of iproute2 */
  ip(...words) {
    return run('nsenter', ['-t', String(this.process.pid), '--net', 'ip', ...words], { env: environment });
  }

  /**
   * A program that runs `program` on this machine.
   * @param {string} directory where it may be written
   * @param {string} program
   */
  wrapper(directory, program) {
    return this.#script(directory, program, `nsenter -t ${this.process.pid} --net -- '${program}'`);
  }

  /** The same for a Firefox, which is driven over TCP from out here. @param {string} directory @param {string} program */
  drivenFirefox(directory, program) {
    return this.#script(directory, program, `'${process.execPath}' '${path.join(HOME, 'driven.mjs')}' ${this.process.pid} '${program}'`);
  }

  /** @param {string} directory @param {string} program @param {string} command */
  #script(directory, program, command) {
    const file = path.join(directory, `${this.name}-${path.basename(program)}`);
    writeFileSync(file, `#!/bin/sh\nexec ${command} "$@"\n`);
    chmodSync(file, 0o755);
    return file;
  }
}

/** @param {string[]} words */
function ip(...words) {
  return run('ip', words, { env: environment });
}
