/** Rooms where everyone sees everyone: people beside cameras, what they see of themselves, and why a camera is not lent. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { after, afterEach, before, beforeEach } from 'node:test';
import { chromium } from 'playwright-core';
import { allLive, cameraTable, Daemon, faultsOf, keepPicture, launchBrowser, LIMIT, openMenu, openPage, until } from './harness.mjs';

let browser;
let daemon;
before(async () => {
  // A name for this machine that browsers do not take for it: no page of it may have the camera.
  browser = await launchBrowser(['--host-resolver-rules=MAP box.lan 127.0.0.1']);
});
after(() => browser?.close());
beforeEach(async () => { daemon = await Daemon.start(cameraTable('alpha')); });
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
  await daemon.stop();
});

const show = (page) => page.getByRole('button', { name: 'Show my camera' }).click();

test('people are shown beside cameras, by name, and see and hear what they show', async () => {
  const url = `${daemon.url}?room=mesh`;
  const [first, second] = [await openPage(browser, url), await openPage(browser, url)];
  for (const page of [first, second]) await allLive(page, ['alpha']);
  // Twice, as people do when the browser takes its time: one camera is lent all the same.
  await first.getByRole('button', { name: 'Show my camera' }).evaluate((button) => {
    const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    window.lendings = 0;
    navigator.mediaDevices.getUserMedia = (...wishes) => { window.lendings++; return real(...wishes); };
    for (let n = 0; n < 2; n++) button.click();
  });
  const self = first.locator('#self');
  await self.waitFor();
  assert.equal(await first.evaluate(() => window.lendings), 1);
  await until('the view of oneself', () => self.locator('video').evaluate(({ currentTime }) => currentTime > 0.3));
  const look = await self.evaluate((figure) => {
    const video = figure.querySelector('video');
    const box = figure.getBoundingClientRect();
    return { muted: video.muted, mirrored: new DOMMatrix(getComputedStyle(video).transform).a, share: box.width / innerWidth,
      inside: box.left >= 0 && box.top >= 0 && box.right <= innerWidth && box.bottom <= innerHeight,
      caption: figure.querySelector('figcaption').textContent };
  });
  assert.deepEqual({ ...look, share: look.share < 0.3 }, { muted: true, mirrored: -1, share: true, inside: true, caption: 'You' });

  const guests = () => guestsOf(second);
  await until('the guest', async () => (await guests()).some(({ title, phase }) => title === 'Guest' && phase === 'live'), guests);
  assert.equal((await guests())[0].audio, 0, 'no sound unless it is switched on');
  const name = self.getByLabel('Your name, as the others see it');
  const long = 'Anna <b>with a name that is longer than any tile has room for';
  await name.fill(` ${long}`);
  await name.press('Enter');
  await until('the name', async () => (await guests())[0].title === long.slice(0, 39), guests);
  await first.evaluate((name) => { for (const { target } of window.portald.gun.portals.values()) window.portald.gun.signaler.send('name', name, target.id); }, long);
  await until('a name cut to 40', async () => (await guests())[0].title === long.slice(0, 40), guests);
  // Typed, for what is filled in comes without keys; and full screen would take a moment to be there.
  await first.evaluate(() => { document.documentElement.requestFullscreen = async () => { window.isFull = true; }; });
  await name.fill('');
  await name.pressSequentially('fff');
  assert.equal(await first.evaluate(() => window.isFull), undefined, 'letters in a name are no keys of the wall');
  await name.fill('Anna');
  await name.press('Enter');
  await until('the name', async () => (await guests())[0].title === 'Anna', guests);
  await keepPicture(first, 'mesh-self');
  await keepPicture(second, 'mesh-guest');

  // Who comes later knows the name, too; also where it is told before there can be a connection.
  const context = await browser.newContext();
  context.setDefaultTimeout(LIMIT);
  const third = await context.newPage();
  const members = (page) => page.evaluate(() => window.portald.gun.portals.size);
  const before = await members(first);
  await third.route('**/api/rtc*', async (route) => {
    await until('the others to know of it', async () => await members(first) > before);
    await sleep(1_000);
    await route.continue();
  });
  await third.goto(url);
  await until('Anna', async () => (await guestsOf(third)).some(({ title, phase }) => title === 'Anna' && phase === 'live'), () => guestsOf(third));
  await third.unrouteAll({ behavior: 'ignoreErrors' });
  await third.context().close();

  const microphone = self.getByRole('button', { name: 'Microphone' });
  await microphone.click();
  await until('the sound', async () => (await guests())[0].audio === 1, guests);
  assert.equal(await microphone.getAttribute('aria-pressed'), 'true');
  assert.equal((await guests())[0].muted, true, 'nobody is startled');
  await sound(second, 'Anna');
  assert.equal((await guests())[0].muted, false);
  await openMenu(second, 'Anna');
  assert.equal(await second.locator('.menu').getByText('Hide on this device').count(), 0, 'nobody could be shown again');
  await second.keyboard.press('Escape');
  await second.locator('.menu').waitFor({ state: 'detached' });
  await sound(second, 'Anna');
  assert.equal((await guests())[0].muted, true);
  await microphone.click();
  await until('the microphone to be given back', () => sent(first, 'audio').then((count) => count === 0));
  // The picture goes on; on a busy machine one of them may be late just now.
  await until('a live picture', async () => (await guests())[0].phase === 'live', guests);

  await first.evaluate(() => { window.lent = document.querySelector('#self video').srcObject.getTracks(); });
  await first.getByRole('button', { name: 'Stop showing my camera' }).click();
  await until('the guest to be gone', async () => (await guests()).length === 0, guests);
  assert.equal(await self.count(), 0);
  assert.ok(await first.evaluate(() => window.lent.every(({ readyState }) => readyState === 'ended')), 'the camera is given back');
  assert.deepEqual([...faultsOf(first), ...faultsOf(second)], []);

  await first.reload();
  await allLive(first, ['alpha']);
  await show(first);
  assert.equal(await name.inputValue(), 'Anna', 'remembered on this device');
});

test('where the browser lends no camera the page says why, and what to do', async () => {
  const insecure = await openPage(browser, `http://box.lan:${daemon.port}/?room=mesh`);
  await show(insecure);
  const hint = insecure.getByRole('alert');
  await hint.waitFor();
  const text = await hint.textContent();
  assert.match(text, /HTTPS, or from the device itself/);
  assert.match(text, /self_signed = true under \[server\.tls\] in portald\.toml/);
  assert.ok(text.includes(`https://box.lan:${daemon.port}/?room=mesh`), text);
  assert.ok(text.includes(`http://localhost:${daemon.port}/?room=mesh`), text);
  await keepPicture(insecure, 'mesh-insecure');

  const faults = [
    ['NotAllowedError', /told not to lend the camera to this page\. Allow it at the address bar/],
    ['NotReadableError', /The camera is in use by another program/], ['NotFoundError', /This device has no camera/],
    ['AbortError', /The camera cannot be used: AbortError/],
  ];
  const page = await openPage(browser, `${daemon.url}?room=mesh`);
  for (const [name, said] of faults) {
    // The fake camera is always there and never busy; the browser's errors are its own.
    await page.evaluate((name) => {
      navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', name); };
    }, name);
    await show(page);
    await until(`what is said of ${name}`, async () => said.test(await page.locator('#hint').textContent()), () => page.locator('#hint').textContent());
    assert.equal(await page.locator('#self').count(), 0);
  }
  await page.evaluate(() => { delete navigator.mediaDevices.getUserMedia; });
  await show(page);
  await page.locator('#self').waitFor();
  assert.ok(await page.locator('#hint').isHidden(), 'all is well now');
});

test('who says no to the browser is told how to change that', async () => {
  // Without the flag that says yes for the user, a headless browser says no.
  const strict = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--use-fake-device-for-media-stream'],
  });
  try {
    const page = await openPage(strict, `${daemon.url}?room=mesh`);
    await show(page);
    await page.getByRole('alert').getByText('Allow it at the address bar').waitFor({ timeout: 60_000 });
  } finally {
    await strict.close();
  }
});

/** The people on a wall. */
function guestsOf(page) {
  return page.evaluate(() => [...(window.portald?.tiles.values() ?? [])].filter((tile) => !tile.isCamera)
    .map(({ title, phase, video }) => ({ title, phase, muted: video.muted, audio: video.srcObject?.getAudioTracks().length ?? 0 })));
}

/** How many tracks of a kind a page sends. */
function sent(page, kind) {
  return page.evaluate((kind) => [...window.portald.gun.portals.values()]
    .flatMap(({ peer }) => peer.getSenders()).filter(({ track }) => track?.kind === kind).length, kind);
}

/** Chooses "Sound" in the menu of a person's tile. */
async function sound(page, title) {
  await openMenu(page, title);
  await page.locator('.menu').getByText('Sound', { exact: true }).click();
}
