/** A camera that is switched off over HTTP, as the wall shows it, and on again. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import {
  allLive, artifacts, CAMERAS, cameraTable, changesOf, Daemon, faultsOf, keepPicture, launchBrowser, openPage, tilesOf, UNCHANGED,
  until, watchTiles,
} from './harness.mjs';

const TOKEN = 'turn-it-off';

test('a camera that is switched off says so on its tile, and comes back on the same connection', async () => {
  const file = path.join(artifacts, 'admin-token');
  writeFileSync(file, TOKEN);
  const browser = await launchBrowser();
  const daemon = await Daemon.start(`[access]\nadmin_token_file = ${JSON.stringify(file)}\n${CAMERAS.map((name) => cameraTable(name)).join('')}`);
  const patch = async (change) => {
    const answer = await fetch(`${daemon.url}api/cameras/alpha`, {
      method: 'PATCH', headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' }, body: JSON.stringify(change),
    });
    assert.equal(answer.status, 200, await answer.clone().text());
    return answer.json();
  };
  try {
    const wall = await openPage(browser, daemon.url);
    await allLive(wall);
    await watchTiles(wall);
    const tile = async () => (await tilesOf(wall)).alpha;
    const words = () => wall.evaluate(() => {
      const { element, button } = window.portald.tiles.get('!alpha');
      const text = (part) => element.querySelector(part).textContent;
      return { badge: text('.badge'), headline: text('.headline'), reason: text('.reason'), label: button.ariaLabel,
        slate: element.hasAttribute('data-slate') };
    });

    assert.equal((await patch({ enabled: false })).state, 'disabled');
    await until('the tile to tell', async () => (await tile()).phase === 'problem', tile);
    await until('the slate', async () => (await words()).slate, words);
    const { badge, headline, reason, label } = await words();
    assert.deepEqual({ badge, headline, label }, { badge: 'off', headline: 'Switched off', label: 'Camera alpha: Switched off' });
    assert.match(reason, /^switched off by the administrator/);
    await keepPicture(wall, 'switched-off');
    // Not at any one moment: a busy machine's pictures may be late now and then.
    await until('the others to be live', async () => (await tilesOf(wall)).bravo.phase === 'live', () => tilesOf(wall));

    assert.equal((await patch({ enabled: true, bitrate: 300 })).enabled, true);
    await allLive(wall);
    await until('the badge to go', async () => (await words()).badge === '', words);
    assert.deepEqual((await changesOf(wall)).rebuilt, UNCHANGED.rebuilt, 'every connection is the one it was');
    assert.deepEqual(faultsOf(wall), []);
  } finally {
    await browser.close();
    await daemon.stop();
  }
});
