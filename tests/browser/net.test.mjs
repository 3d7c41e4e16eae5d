/** Broken networks, real ones: starts networks.mjs in namespaces of its own, whose results count as this file's. */
import test from 'node:test';
import { runInside, whyNot } from './netns.mjs';

const reason = await whyNot();
if (reason) test('the wall in broken networks', { skip: reason }, () => {});
else process.exitCode = await runInside('networks.mjs');
