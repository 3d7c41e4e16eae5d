/** README's page to copy is a page that works: as it stands there, with only the server's address put in. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { cameraTable, Daemon, faultsOf, keepPicture, launchBrowser, openPage, until } from './harness.mjs';
import { presentedBy, serve } from './pages.mjs';

/** What README says to replace: where the daemon is. */
const SERVER = 'http://localhost:8080/';

test('README’s page shows who else is there, as its reader would open it', async () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  const pages = [...readme.matchAll(/^```html\n([^]*?)^```$/gm)].map(([, page]) => page);
  assert.equal(pages.length, 1, 'there is one');
  const [page] = pages;
  const lines = page.trimEnd().split('\n').length;
  assert.ok(lines < 30, `${lines} lines`);
  assert.equal(page.split(SERVER).length, 2, 'the server is named once');

  const browser = await launchBrowser();
  const mesh = cameraTable('alpha', { rooms: ['talk'] });
  const daemon = await Daemon.start(`[room.talk]\nmode = "mesh"\n${mesh}`);
  const site = await serve({ '/': page.replace(SERVER, daemon.url) });
  try {
    const [first, second] = [await openPage(browser, site.url), await openPage(browser, site.url)];
    for (const one of [first, second]) {
      // The camera and the other page, each with pictures that move.
      const shown = () => one.locator('video').evaluateAll(presentedBy);
      const before = await until('two pictures', async () => {
        const videos = await shown();
        return videos.length === 2 && videos.every(({ width, frames }) => width > 0 && frames > 0) && videos;
      }, shown);
      assert.ok(before.some(({ title }) => title === 'Camera alpha'), JSON.stringify(before));
      await until('both to move', async () =>
        (await shown()).every(({ title, frames }) => frames > before.find((video) => video.title === title)?.frames + 3), shown);
      await keepPicture(one, one === first ? 'readme-first' : 'readme-second');
    }
    await second.close({ runBeforeUnload: true });
    await until('who left to be gone', () => first.evaluate(() => document.querySelectorAll('video').length === 1));
    assert.deepEqual(faultsOf(first), []);
  } finally {
    await browser.close();
    await daemon.stop();
    site.close();
  }
});
