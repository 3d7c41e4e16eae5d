// Says how the cases of an Autobahn run went; fails when one failed, or when hardly any ran.
import { readFileSync } from 'node:fs';

// All there were when this was written, less some for a release of the suite that counts otherwise.
const EXPECTED = 240;
// The suite's words for a server that did what RFC 6455 asks, or does not ask.
const GOOD = ['OK', 'INFORMATIONAL', 'NON-STRICT'];

const [cases] = Object.values(JSON.parse(readFileSync(process.argv[2], 'utf8')));
const order = (name) => name.split('.').map((part) => part.padStart(4, '0')).join('.');
const results = Object.entries(cases).sort(([a], [b]) => order(a).localeCompare(order(b)));

const counts = {};
const bad = [];
for (const [name, { behavior, behaviorClose }] of results) {
  counts[behavior] = (counts[behavior] ?? 0) + 1;
  if (!GOOD.includes(behavior) || !GOOD.includes(behaviorClose)) bad.push(`${name}: ${behavior}, close ${behaviorClose}`);
}
const summary = Object.entries(counts).map(([behavior, count]) => `${count} ${behavior}`).join(', ');
console.log(`Autobahn: ${results.length} cases: ${summary}`);
for (const line of bad) console.log(`Autobahn: case ${line}`);
if (results.length < EXPECTED) console.log(`Autobahn: too few cases, ${EXPECTED} were expected`);
process.exitCode = bad.length > 0 || results.length < EXPECTED ? 1 : 0;
