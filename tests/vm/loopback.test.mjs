// A camera that encodes itself, as some USB cameras do: v4l2loopback, fed with H.264 by GStreamer. Its own frames are the main
// rendition; the small one is decoded, scaled and encoded.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { GSTREAMER, guest, logs, tryGuest, until } from './guest.mjs';
import { cameraOf, cameraTable, launchBrowser, observe, openWall, PATIENCE, serve, showing, stopServing, suffer } from './wall.mjs';

// The camera is opened anew every 2 s, and the loopback refuses who feeds it while it is open: then that tries again.
const FEED = `${GSTREAMER}; systemd-run -q --collect --unit=feed -p Restart=on-failure -p RestartSec=2 --setenv=ORC_CODE --setenv=GST_REGISTRY \
  gst-launch-1.0 v4l2src device=/dev/video0 ! video/x-raw,format=I420,width=640,height=360,framerate=5/1 \
  ! x264enc tune=zerolatency speed-preset=ultrafast bitrate=500 key-int-max=10 ! video/x-h264,profile=constrained-baseline \
  ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au ! v4l2sink device=/dev/video9 sync=false`;

const SUB = '[camera.encoding.sub]\nwidth = 320\nbitrate = 200\n';

let browser;
let page;

before(async () => {
  await guest('modprobe vivid n_devs=2 node_types=0x1,0x1 num_inputs=1,1 input_types=0x00,0x00 && udevadm settle');
  await guest('modprobe v4l2loopback video_nr=9 card_label=Encoding exclusive_caps=1 && udevadm settle');
  await guest(FEED);
  await until('the loopback to offer H.264', async () => /H264/.test((await tryGuest('v4l2-ctl -d /dev/video9 --get-fmt-video')).text), PATIENCE);
});

after(async () => {
  await page?.screenshot({ path: join(logs, 'loopback.png') }).catch(() => {});
  await browser?.close();
  await tryGuest('systemctl stop feed');
  await stopServing('loopback');
  await tryGuest('rmmod v4l2loopback vivid');
});

test('its H.264 is passed on as it is', async () => {
  await serve(cameraTable('encoding', '/dev/video9', { width: 640, height: 360 }) + SUB + cameraTable('plain', '/dev/video1'));
  browser = await launchBrowser();
  page = await openWall(browser);
  await observe(page, { encoding: 'bars', plain: 'bars' });
  await wish('main', 640);
  const { encoder, codec, width, height } = await rendition('main');
  assert.deepEqual({ encoder, codec, width, height }, { encoder: 'passthrough', codec: 'H264', width: 640, height: 360 });
  // The mean of two seconds; before them it is 0.
  await until('more than 10 kbit/s to be measured', async () => (await rendition('main')).bitrate > 10, PATIENCE);
});

test('its small rendition is decoded and encoded, while somebody wants it', async () => {
  await wish('sub', 320);
  const { encoder, width } = await rendition('sub');
  assert.ok(width === 320 && encoder !== 'passthrough', `${encoder}, ${width} wide`);
  await wish('main', 640);
});

test('when nothing feeds it, it shows its slate; when something does again, its picture', async () => {
  await suffer(page, 'feeder', { camera: 'encoding', other: 'plain', inflict: 'systemctl stop feed', mend: FEED });
});

/** Asks for a rendition of the camera, as the page does when a tile is opened; waits until it is shown. */
async function wish(quality, width) {
  await page.evaluate((wanted) => window.portald.gun.signaler.send('quality', wanted, '!encoding'), quality);
  await until(`a picture ${width} wide`, () => page.evaluate((wanted) => window.seen.encoding.tile.video.videoWidth === wanted, width), PATIENCE);
  await showing(page, 'encoding', 'bars');
}

/** One that runs. While the camera, or its encoder, starts anew there is none. */
function rendition(name) {
  return until(`${name} to run`, async () => {
    const { renditions } = await cameraOf('encoding');
    const found = renditions.find((one) => one.name === name && one.codec === 'H264' && one.running);
    return found ?? Promise.reject(new Error(JSON.stringify(renditions)));
  }, PATIENCE);
}
