#!/usr/bin/env node
/**
 * `node driven.mjs PID PROGRAM ARGUMENTS…`: Firefox, run in the network namespace of process PID and driven from this one. It takes
 * its orders at a TCP port of its own loopback, which this one's cannot reach: so that port is opened here, too, and passed on.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';

const [pid, ...command] = process.argv.slice(2);
const there = ['-t', pid, '--net', '--'];
/** Runs there: from this port to standard input and output. @param {string} port */
const toPort = (port) => `const s = require('net').connect(${port}, '127.0.0.1'); process.stdin.pipe(s).pipe(process.stdout)`;

const program = spawn('nsenter', [...there, ...command], { stdio: ['ignore', 'inherit', 'pipe'] });
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.on(signal, () => program.kill(signal));

createInterface(program.stderr).on('line', async (line) => {
  const port = /WebDriver BiDi listening on ws:\/\/127\.0\.0\.1:(\d+)/.exec(line)?.[1];
  if (port) await open(port);
  // Only then: who reads this line connects.
  process.stderr.write(`${line}\n`);
});
const [code] = await once(program, 'exit');
process.exit(code ?? 1);

/** @param {string} port */
async function open(port) {
  const server = createServer((socket) => {
    const passed = spawn('nsenter', [...there, process.execPath, '-e', toPort(port)], { stdio: ['pipe', 'pipe', 'inherit'] });
    socket.pipe(passed.stdin);
    passed.stdout.pipe(socket);
    for (const end of [socket, passed.stdin]) end.on('error', () => socket.destroy()); // The other end is gone.
    socket.on('close', () => passed.kill());
  });
  server.listen(Number(port), '127.0.0.1');
  await once(server, 'listening');
}
