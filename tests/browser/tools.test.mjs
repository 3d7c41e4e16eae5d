/** What people do with the wall: menus, keys, zoom, hiding, unattended screens, and browsers without WebRTC. */
import assert from 'node:assert/strict';
import test, { after, afterEach, before, beforeEach } from 'node:test';
import {
  allLive, CAMERAS, CODEC, Daemon, doubleClick, faultsOf, hide, keepPicture, launchBrowser, LIMIT, MAIN, openMenu, openPage, savedAs,
  showsCamera, SUB, tilesOf, until,
} from './harness.mjs';

let browser;
let daemon;
before(async () => { browser = await launchBrowser(); });
after(() => browser?.close());
beforeEach(async () => { daemon = await Daemon.start(); });
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
  await daemon.stop();
});

test('the wall is worked with keys alone, and says where one is', async () => {
  const wall = await openPage(browser, daemon.url);
  await allLive(wall);
  // What was live just now may be late for a moment on a busy machine, and its name says so.
  for (const name of ['alpha', 'bravo']) {
    await wall.keyboard.press('ArrowRight');
    await until(`the focus on ${name}`, async () => (await focused(wall)).startsWith(`Camera ${name}: live`), () => focused(wall));
  }
  await wall.keyboard.press('Enter');
  await showsCamera(wall, 'bravo', [MAIN]);

  await until('the zoom', async () => {
    await wall.keyboard.press('+');
    return (await transform(wall)) !== '';
  });
  const before = await transform(wall);
  await wall.keyboard.press('ArrowLeft');
  assert.notEqual(await transform(wall), before, 'a key moves the view');
  assert.ok(await isLarge(wall, 'bravo'), 'and not to another camera');
  await wall.keyboard.press('0');
  assert.equal(await transform(wall), '');
  await wall.keyboard.press('ArrowRight');
  await until('the next camera', () => isLarge(wall, 'charlie'));

  await wall.keyboard.press('Tab');
  assert.equal(await focused(wall), 'Menu of Camera charlie');
  await wall.keyboard.press('Enter');
  await until('the menu', async () => (await focused(wall)) === 'Save a picture');
  await wall.keyboard.press('End');
  assert.equal(await focused(wall), 'Quality: small');
  await noteBack(wall);
  await wall.keyboard.press('Escape');
  assert.equal(await focused(wall), 'Menu of Camera charlie', 'the focus is where it was');
  assert.ok(!(await wentBack(wall)) && await isLarge(wall, 'charlie'), 'Escape closed the menu only');
  await wall.keyboard.press('Escape');
  await until('all cameras', async () => !(await isLarge(wall, 'charlie')));
  assert.deepEqual(faultsOf(wall), []);
});

test('the menu of a tile shows plausible figures, asks for a quality, saves a picture', async () => {
  const wall = await openPage(browser, daemon.url);
  await allLive(wall);
  await choose(wall, 'alpha', 'Statistics');
  const figures = await until('figures', async () => {
    const texts = await wall.locator('.tile', { hasText: 'Camera alpha' }).locator('.statistics > *').allTextContents();
    const all = Object.fromEntries(texts.flatMap((text, index) => (index % 2 ? [[texts[index - 1], text]] : [])));
    return /^[1-9]/.test(all.Bitrate) && /^[1-9]/.test(all.Rate) && all.Encoder !== '–' && all['Round trip'] !== '–' && all;
  });
  assert.equal(figures.Size, `${SUB.width} × ${SUB.height}`);
  assert.ok(figures.Codec.startsWith(CODEC), figures.Codec);
  assert.match(figures.Encoder, /enc/);
  assert.ok(parseFloat(figures['Round trip']) < 5_000, figures['Round trip']);
  assert.ok(parseFloat(figures.Rate) <= 40, figures.Rate);
  await keepPicture(wall, 'statistics');

  await choose(wall, 'alpha', 'Quality: full');
  await showsCamera(wall, 'alpha', [MAIN]);
  await showsCamera(wall, 'bravo', [SUB]);

  await choose(wall, 'alpha', 'In a window of its own');
  await until('the window', () => wall.evaluate(() =>
    document.pictureInPictureElement === window.portald.tiles.get('!alpha').video));
  await wall.evaluate(() => document.exitPictureInPicture());
  await until('no other way to have one', () => wall.evaluate(() =>
    [...window.portald.tiles.values()].every(({ video }) => video.disablePictureInPicture)));

  const [download] = await Promise.all([wall.waitForEvent('download'), choose(wall, 'alpha', 'Save a picture')]);
  assert.match(download.suggestedFilename(), /^alpha .*\.jpg$/);
  const { createReadStream } = await import('node:fs');
  const head = createReadStream(await savedAs(download), { end: 1 });
  for await (const bytes of head) assert.deepEqual([...bytes], [0xff, 0xd8], 'a JPEG');
  assert.deepEqual(faultsOf(wall), []);
});

test('hidden cameras and the order of tiles are remembered on this device, and hidden ones are not sent', async () => {
  const wall = await openPage(browser, daemon.url);
  await allLive(wall);
  await choose(wall, 'alpha', 'Move back');
  await until('the order', async () => (await titles(wall)).join() === 'Camera bravo,Camera alpha,Camera charlie');
  await choose(wall, 'bravo', 'Hide on this device');
  await until('two tiles', async () => (await titles(wall)).join() === 'Camera alpha,Camera charlie');
  await until('bravo to be left alone', async () => (await daemon.viewers()).bravo === 0, () => daemon.viewers());
  await wall.reload();
  await allLive(wall, ['alpha', 'charlie']);
  assert.deepEqual(await titles(wall), ['Camera alpha', 'Camera charlie']);
  await wall.getByRole('button', { name: 'Show 1 hidden' }).click();
  await allLive(wall);
  // Its picture may come before the answer by which they are sorted.
  await until('the order', async () => (await titles(wall)).join() === 'Camera bravo,Camera alpha,Camera charlie', () => titles(wall));
  for (const name of CAMERAS) await showsCamera(wall, name);
});

test('a wheel looks closer, a drag moves, and neither closes the large picture', async () => {
  const wall = await openPage(browser, daemon.url);
  await allLive(wall);
  await wall.getByRole('button', { name: /^Camera bravo/ }).click();
  await until('the zoom', async () => {
    await wall.mouse.move(400, 300);
    await wall.mouse.wheel(0, -100);
    return (await transform(wall)) !== '';
  });
  await noteBack(wall);
  await wall.mouse.down();
  // Only now: the page may have had a turn of the wheel still before it, and comes to a button after all of them.
  const before = await transform(wall);
  await wall.mouse.move(430, 320, { steps: 5 });
  await wall.mouse.up();
  assert.notEqual(await transform(wall), before);
  await doubleClick(wall, 400, 300);
  assert.equal(await transform(wall), '', 'a double click shows all of it');
  assert.ok(!(await wentBack(wall)) && await isLarge(wall, 'bravo'));
});

test('with one camera large arrows go on from it, wherever the focus is, and Escape never leaves the wall', async () => {
  const wall = await openPage(browser, daemon.url);
  await allLive(wall);
  await wall.getByRole('button', { name: /^Camera bravo/ }).click();
  await until('the large picture', () => isLarge(wall, 'bravo'));
  await wall.evaluate(() => document.activeElement.blur());
  await wall.keyboard.press('ArrowRight');
  await until('the next camera', () => isLarge(wall, 'charlie'));
  // Both before the browser has gone back for the first.
  await wall.evaluate(() => {
    for (let n = 0; n < 2; n++) document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape' }));
  });
  await until('all cameras', async () => !(await isLarge(wall, 'charlie')));
  // As a key does: a second tap that soon would belong to the first.
  await wall.getByRole('button', { name: /^Camera alpha/ }).press('Enter');
  await until('the large picture', () => isLarge(wall, 'alpha'));
  // What is chosen while the browser still goes back is shown, and it is a step back from there, too.
  await wall.evaluate(() => {
    for (const key of ['Escape', 'ArrowRight']) document.dispatchEvent(new KeyboardEvent('keydown', { key }));
  });
  await until('the one that was chosen', () => wall.evaluate(() => history.state?.large === '!bravo' && window.portald.wall.large?.id === '!bravo'));
  await wall.keyboard.press('Escape');
  await until('all cameras', async () => !(await isLarge(wall, 'bravo')));
  assert.equal(wall.url(), daemon.url);
  assert.deepEqual(faultsOf(wall), []);
});

test('a mouse that is let go of elsewhere drags nothing', async () => {
  const wall = await openPage(browser, daemon.url);
  await allLive(wall);
  await wall.getByRole('button', { name: /^Camera bravo/ }).click();
  // By keys, which are heard at once; and before the drag, which nobody hears while the module is under way.
  await until('the zoom', async () => {
    await wall.keyboard.press('+');
    return (await transform(wall)) !== '';
  });
  await wall.keyboard.press('0');
  await wall.mouse.move(400, 300);
  await wall.mouse.down();
  await wall.mouse.move(400, 8);
  await wall.mouse.up();
  await wall.mouse.move(400, 300);
  await wall.keyboard.press('+');
  const before = await transform(wall);
  assert.notEqual(before, '');
  await wall.mouse.move(460, 340, { steps: 5 });
  assert.equal(await transform(wall), before);
});

test('an unattended screen shows each camera in turn, and loads itself anew for a new daemon', async () => {
  const kiosk = await openPage(browser, `${daemon.url}?kiosk&cycle=3`);
  const seen = new Set();
  await until('all cameras large, one after the other', async () => {
    const title = await kiosk.evaluate(() => document.querySelector('.large .title')?.textContent);
    if (title) seen.add(title);
    return seen.size === CAMERAS.length;
  });
  assert.equal(await kiosk.evaluate(() => getComputedStyle(document.body).cursor), 'none');
  const phases = await kiosk.evaluate(() => ['stalled', 'idle'].map((state) => {
    const tile = window.portald.tiles.get('!alpha');
    tile.state = { state };
    tile.update(performance.now(), false, true);
    return tile.phase === 'problem';
  }));
  assert.deepEqual(phases, [true, false], 'a camera that is well again out of sight has its turn again');
  await keepPicture(kiosk, 'kiosk');

  await kiosk.evaluate(() => { window.old = true; });
  // As a new daemon would answer; its pages cannot be changed at run time.
  await kiosk.route('**/api/version', (route) => route.fulfill({ json: { version: '99', page: 'another' } }));
  await until('the page to be another', () => kiosk.evaluate(() => window.old === undefined).catch(() => false));
});

test('where no WebRTC connection comes up single pictures are shown, and the wall says so', async () => {
  const context = await browser.newContext({ viewport: { width: 800, height: 600 } });
  context.setDefaultTimeout(LIMIT);
  const wall = await context.newPage();
  // As where a company's policy switches it off; to the rest of the page UDP that is blocked looks the same.
  await wall.addInitScript(() => {
    window.RTCPeerConnection = class { constructor() { throw new Error('switched off'); } };
  });
  await wall.goto(daemon.url);
  await until('single pictures on every tile', async () =>
    Object.values(await tilesOf(wall)).filter(({ phase }) => phase === 'stills').length === CAMERAS.length, () => tilesOf(wall));
  await keepPicture(wall, 'stills');
  const button = wall.getByRole('button', { name: /^Camera alpha/ });
  // A busy machine's pictures may be too old now and then, and then a tile is right not to say so.
  await until('the tiles to say so', async () =>
    /single pictures, because no WebRTC connection comes up/.test(await button.getAttribute('aria-label'))
    && await wall.locator('.badge', { hasText: 'single pictures' }).count() === CAMERAS.length, () => tilesOf(wall));
  const first = await wall.locator('.still').first().getAttribute('src');
  await until('the next picture', async () => (await wall.locator('.still').first().getAttribute('src')) !== first);

  await daemon.stop();
  await until('the tiles to own up', async () =>
    Object.values(await tilesOf(wall)).every(({ phase }) => phase !== 'stills' && phase !== 'live'), () => tilesOf(wall));
  await daemon.run();
  await until('pictures again', async () =>
    Object.values(await tilesOf(wall)).every(({ phase }) => phase === 'stills'), () => tilesOf(wall));
});

test('in a mesh room a wall shows its own camera to the others, and stops', async () => {
  const context = await browser.newContext({ viewport: { width: 800, height: 600 }, permissions: ['camera', 'microphone'] });
  context.setDefaultTimeout(LIMIT);
  const first = await context.newPage();
  await first.goto(`${daemon.url}?room=mesh`);
  await allLive(first);
  const second = await openPage(browser, `${daemon.url}?room=mesh`);
  await allLive(second);
  await first.getByRole('button', { name: 'Show my camera' }).click();
  await until('the guest', async () =>
    Object.values(await tilesOf(second)).some(({ name, phase, frames }) => !CAMERAS.includes(name) && phase === 'live' && frames > 5),
  () => tilesOf(second));
  await keepPicture(second, 'guest');
  await first.getByRole('button', { name: 'Stop showing my camera' }).click();
  await until('the guest to be gone', async () => Object.keys(await tilesOf(second)).length === CAMERAS.length, () => tilesOf(second));
  const wall = await openPage(browser, daemon.url);
  await allLive(wall); // By then it would be there.
  assert.ok(await wall.locator('#publish').isHidden(), 'in a wall room nobody does');
});

test('a wall that nobody sees for a while is sent nothing, and shows pictures again when it is looked at', async () => {
  const wall = await openPage(browser, daemon.url);
  await allLive(wall);
  await hide(wall, true);
  await until('the cameras to rest', async () => Object.values(await daemon.viewers()).every((count) => count === 0), () => daemon.viewers());
  const before = await tilesOf(wall);
  await hide(wall, false);
  await until('moving pictures', async () => {
    const now = await tilesOf(wall);
    return CAMERAS.every((name) => now[name].phase === 'live' && now[name].frames > before[name].frames + 3);
  }, () => tilesOf(wall));
  const after = await tilesOf(wall);
  for (const name of CAMERAS) assert.equal(after[name].connections, before[name].connections, 'over the same connection');
});

test('the status page shows cameras, rooms and what lately happened, and follows', async () => {
  const status = await openPage(browser, `${daemon.url}status`);
  await status.getByRole('cell', { name: 'Camera alpha' }).waitFor();
  const states = () => status.locator('#cameras .state').allTextContents();
  // Each device is asked first what it offers.
  await until('all to be idle', async () => (await states()).join() === 'idle,idle,idle', states);
  await openPage(browser, daemon.url).then((wall) => allLive(wall));
  await until('the states to follow', async () => (await states()).every((state) => state === 'live'), states);
  await until('the events', async () => (await status.locator('#events li').count()) >= 2 * CAMERAS.length);
  const encoded = () => status.locator('#cameras').innerText();
  await until('what is encoded', async () => new RegExp(`sub: 480 × 270, .*${CODEC} by`).test(await encoded()), encoded);
  assert.match(await status.locator('#daemon').innerText(), /^portald \d/);
  await keepPicture(status, 'status');
  assert.deepEqual(faultsOf(status), []);
});

async function choose(wall, camera, item) {
  await openMenu(wall, `Camera ${camera}`);
  await wall.locator('.menu').getByText(item, { exact: true }).click();
}

function titles(wall) {
  return wall.locator('.tile .title').allTextContents();
}

function focused(wall) {
  return wall.evaluate(() => document.activeElement?.ariaLabel ?? document.activeElement?.textContent ?? '');
}

function transform(wall) {
  return wall.evaluate(() => document.querySelector('.large video')?.style.transform ?? '');
}

function isLarge(wall, name) {
  return wall.evaluate((id) => window.portald.wall.large?.id === id, `!${name}`);
}

/** From here on notes whether the wall goes back to all cameras: that takes a moment, in which it still looks as before. */
function noteBack(wall) {
  return wall.evaluate(() => {
    window.wentBack = false;
    history.back = () => {
      window.wentBack = true;
      History.prototype.back.call(history);
    };
  });
}

function wentBack(wall) {
  return wall.evaluate(() => window.wentBack);
}
