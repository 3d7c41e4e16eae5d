/** The types: the page's scripts have no fault that a compiler finds, and client.d.ts says what client.js does. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const WEB = path.join(HERE, '../../web');
const PROJECT = path.join(HERE, 'types/tsconfig.json');

/** What the compiler finds in a project, and which files it looked at. */
function compile(project) {
  const tsc = path.join(HERE, 'node_modules/typescript/bin/tsc');
  const { stdout, error } = spawnSync(process.execPath, [tsc, '-p', project, '--listFiles', '--pretty', 'false'], { encoding: 'utf8' });
  assert.ifError(error);
  const lines = stdout.trim().split('\n');
  const faults = lines.filter((line) => !path.isAbsolute(line));
  return { faults, files: lines.filter((line) => path.isAbsolute(line)) };
}

test('the scripts and a program built on the client module compile, strictly', () => {
  const { faults, files } = compile(PROJECT);
  assert.deepEqual(faults, []);
  for (const file of ['web/client.js', 'web/client.d.ts', 'web/wall.js', 'web/status.js', 'web/kiosk.js', 'web/whole.js', 'types/consumer.ts']) {
    assert.ok(files.some((one) => one.endsWith(file)), `${file} was looked at`);
  }
});

test('client.d.ts declares what client.js has, and a difference is found', () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'portald-types-'));
  try {
    // The compiler takes the declarations for a script that lies beside them, so each has a place of its own.
    cpSync(WEB, path.join(directory, 'written'), { recursive: true, filter: (file) => !file.endsWith('.d.ts') });
    mkdirSync(path.join(directory, 'declared'));
    const declared = path.join(directory, 'declared/client.d.ts');
    cpSync(path.join(WEB, 'client.d.ts'), declared);
    cpSync(path.join(HERE, 'types/agreement.ts'), path.join(directory, 'agreement.ts'));
    const project = path.join(directory, 'tsconfig.json');
    writeFileSync(project, JSON.stringify({ extends: PROJECT, files: ['agreement.ts'], include: [] }));
    assert.deepEqual(compile(project).faults, []);

    const text = readFileSync(declared, 'utf8');
    for (const [was, is] of [
      ['reconnect(): void;', ''],
      ['renew(why: string): number;', 'renew(why: string): string;'],
      ['export function debounce', 'export function throttle(): void;\nexport function debounce'],
      ['token?: string;', ''],
    ]) {
      assert.ok(text.includes(was), was);
      writeFileSync(declared, text.replace(was, is));
      assert.notDeepEqual(compile(project).faults, [], `without \`${was}\``);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});
