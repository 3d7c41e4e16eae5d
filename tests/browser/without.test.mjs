/** The wall in browsers and behind proxies that lack something: it does without, or says what is amiss. */
import assert from 'node:assert/strict';
import http from 'node:http';
import test, { after, before } from 'node:test';
import {
  allLive, CAMERAS, cameraTable, Daemon, faultsOf, keepPicture, launchBrowser, LIMIT, openPage, showsCamera, tilesOf, until,
} from './harness.mjs';
import { isNoFault } from './engines.mjs';
import { followStills, showStills } from './healing.mjs';

let browser, daemon;
before(async () => {
  browser = await launchBrowser();
  // Cheap to make: single pictures of all are made besides.
  daemon = await Daemon.start(CAMERAS.map((name) => cameraTable(name, { source: 'test:ball', framerate: 10 })).join(''));
});
after(async () => {
  await browser?.close();
  await daemon?.stop();
});

/** A page whose scripts find `missing` done to their browser. */
async function openWithout(missing, url = daemon.url, viewport = { width: 800, height: 600 }) {
  const context = await browser.newContext({ viewport });
  context.setDefaultTimeout(LIMIT);
  await context.addInitScript(missing);
  const page = await context.newPage();
  page.on('pageerror', (error) => { if (!isNoFault(error)) throw error; });
  await page.goto(String(url));
  return page;
}

test('without WebCodecs the wall is live all the same', async () => {
  const wall = await openWithout(() => {
    for (const name of ['VideoDecoder', 'VideoEncoder', 'VideoFrame', 'EncodedVideoChunk', 'ImageDecoder']) delete window[name];
    delete window.MediaStreamTrackProcessor;
  });
  assert.equal(await wall.evaluate(() => 'VideoDecoder' in window || 'VideoFrame' in window), false);
  await allLive(wall);
  for (const name of CAMERAS) await showsCamera(wall, name);
  await wall.context().close();
});

test('a browser without H.264 gets VP8', async () => {
  // Chromium's answer leaves out what the transceiver is told not to prefer, as one without the codec would.
  const wall = await openWithout(() => {
    const real = RTCPeerConnection.prototype.setRemoteDescription;
    RTCPeerConnection.prototype.setRemoteDescription = async function (description) {
      await real.call(this, description);
      const codecs = RTCRtpReceiver.getCapabilities('video').codecs.filter(({ mimeType }) => mimeType !== 'video/H264');
      for (const one of this.getTransceivers()) if (one.receiver.track.kind === 'video') one.setCodecPreferences(codecs);
    };
  });
  await allLive(wall);
  for (const name of CAMERAS) await showsCamera(wall, name);
  const codecs = await wall.evaluate(async () => {
    const found = [];
    for (const { peer } of window.portald.gun.portals.values()) {
      const stats = await peer.getStats();
      for (const one of stats.values()) if (one.type === 'inbound-rtp') found.push(stats.get(one.codecId).mimeType);
    }
    return found;
  });
  assert.deepEqual(codecs, CAMERAS.map(() => 'video/VP8'));
  await wall.context().close();
});

test('without WebRTC the wall shows single pictures and says so', async () => {
  const wall = await openWithout(() => { delete window.RTCPeerConnection; });
  await showStills(wall, CAMERAS);
  await keepPicture(wall, 'without-webrtc');
  await wall.context().close();
});

test('without WebRTC an unattended screen shows single pictures of each camera in its turn', async () => {
  const wall = await openWithout(() => { delete window.RTCPeerConnection; }, `${daemon.url}?kiosk&cycle=3`);
  const shown = new Set();
  await until('each of them', async () => {
    const large = await wall.evaluate(() => {
      const large = window.portald?.wall.large; // None while the page is coming.
      return large?.phase === 'stills' ? large.name : '';
    });
    if (large) shown.add(large);
    return shown.size === CAMERAS.length;
  }, () => [...shown].join());
  await wall.context().close();
});

test('where nothing may play by itself a tap is asked for, and enough', async () => {
  const wall = await openWithout(() => {
    const real = HTMLMediaElement.prototype.play;
    let tapped = false;
    addEventListener('pointerdown', () => { tapped = true; }, { capture: true });
    HTMLMediaElement.prototype.play = function () {
      if (tapped) return real.call(this);
      this.autoplay = false;
      return Promise.reject(new DOMException('not before a tap', 'NotAllowedError'));
    };
  });
  await wall.getByText('Tap to play').first().waitFor();
  await until('single pictures', async () => Object.values(await tilesOf(wall)).every(({ phase }) => phase === 'stills'), () => tilesOf(wall));
  await until('the first to say why', () => said(wall, /before a tap/, 'tap to play'), () => tilesOf(wall));
  await keepPicture(wall, 'tap-to-play');
  // As long as pictures that do not come may be waited for.
  await wall.waitForTimeout(10_000);
  assert.ok(await wall.evaluate(() => [...window.portald.tiles.values()].every(({ connections }) => connections === 1)), 'no connection is at fault');
  await wall.getByRole('button', { name: /^Camera alpha/ }).click();
  await allLive(wall, ['alpha']);
  await wall.keyboard.press('Escape');
  await allLive(wall);
  // Whatever else pauses a picture, it goes on.
  await wall.evaluate(() => { for (const { video } of window.portald.tiles.values()) video.pause(); });
  await until('none to be paused', () => wall.evaluate(() => [...window.portald.tiles.values()].every(({ video }) => !video.paused)));
  for (const name of CAMERAS) await showsCamera(wall, name);
  await wall.context().close();
});

test('where a proxy refuses the WebSocket the wall shows single pictures and says why', async () => {
  const proxy = await refusingProxy(daemon.port);
  const wall = await openPage(browser, proxy.url);
  await showStills(wall, CAMERAS);
  await until('the first to say why', () => said(wall, /WebSocket/, 'single pictures'), () => tilesOf(wall));
  await until('the page to say why', async () => /WebSocket/.test(await wall.locator('#link').textContent()), () => tilesOf(wall));
  await keepPicture(wall, 'without-websocket');
  proxy.refuses = false;
  await allLive(wall);
  for (const name of CAMERAS) await showsCamera(wall, name);
  await until('the page to say that all is well', () => wall.locator('#link').isHidden());
  assert.deepEqual(faultsOf(wall), []);
  await wall.context().close();
  proxy.close();
});

test('single pictures of many cameras are fetched a few at a time, and none for tiles or tabs that nobody sees', async () => {
  const names = Array.from({ length: 30 }, (_, index) => `c${String(index).padStart(2, '0')}`);
  const many = await Daemon.start(names.map((name) => cameraTable(name, { width: 320, height: 180, framerate: 5, bitrate: 200 })).join(''));
  try {
    const wall = await openWithout(() => { delete window.RTCPeerConnection; }, many.url, { width: 1600, height: 1000 });
    const stills = followStills(wall);
    await showStills(wall, names);
    console.log(`single pictures of ${names.length} cameras: at most ${stills.counts.most} under way`);
    assert.ok(stills.counts.most <= 3, `${stills.counts.most} under way`);

    await wall.setViewportSize({ width: 360, height: 400 });
    await until('none for what is scrolled out of sight', async () => {
      const asked = await askedIn(wall, 3_000);
      return asked.includes('c00') && !asked.includes('c29');
    });
    await wall.getByRole('button', { name: /^Camera c07/ }).click();
    await until('pictures of the large one alone', async () => {
      const asked = await askedIn(wall, 3_000);
      return asked.length > 0 && asked.every((name) => name === 'c07') && asked;
    });
    await wall.evaluate(() => Object.defineProperty(document, 'hidden', { configurable: true, get: () => true }));
    await wall.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
    await stills.end();
    await wall.context().close();
  } finally {
    await many.stop();
  }
});

/** Whether the first tile says `why` and `badge`; not while its single picture is too old to be shown, as a busy machine's may be. */
async function said(wall, why, badge) {
  const tile = wall.locator('.tile').first();
  return why.test(await tile.locator('.open').getAttribute('aria-label')) && await tile.locator('.badge').textContent() === badge;
}

/** The cameras of which single pictures are asked for within some time. */
async function askedIn(wall, ms) {
  const asked = [];
  const note = (request) => asked.push(...new URL(request.url()).pathname.match(/(?<=cameras\/)[^/]+(?=\/snapshot)/) ?? []);
  wall.on('request', note);
  await wall.waitForTimeout(ms);
  wall.off('request', note);
  return asked;
}

/** A way to the daemon for requests alone, as some proxies are. */
async function refusingProxy(port) {
  const proxy = { refuses: true };
  const forward = ({ method, url, headers }) => http.request({ host: '127.0.0.1', port, method, path: url, headers: { ...headers, host: `127.0.0.1:${port}` } });
  const server = http.createServer((request, response) => {
    const far = forward(request);
    far.on('response', (answer) => answer.pipe(response.writeHead(answer.statusCode, answer.headers)));
    far.on('error', () => response.destroy());
    request.pipe(far);
  });
  server.on('upgrade', (request, near) => {
    near.on('error', () => near.destroy());
    if (proxy.refuses) return near.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
    request.headers.origin &&= `http://127.0.0.1:${port}`;
    const far = forward(request).on('error', () => near.destroy()).end();
    far.on('upgrade', (answer, socket, head) => {
      const lines = Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}\r\n`).join('');
      near.write(`HTTP/1.1 101 Switching Protocols\r\n${lines}\r\n`);
      near.write(head); // The roster may come in the same packet.
      socket.on('error', () => near.destroy());
      socket.pipe(near).pipe(socket);
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(proxy, {
    url: `http://127.0.0.1:${server.address().port}/`,
    close: () => { server.closeAllConnections(); server.close(); },
  });
}
