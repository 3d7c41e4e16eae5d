// A camera as on a Raspberry Pi's ribbon cable: the kernel's vimc, whose nodes give raw sensor data at most, and libcamera, which
// makes pictures of it. Nothing is configured: it is found, and its picture is on the wall.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { guest, logs, tryGuest, until, url } from './guest.mjs';
import {
  cameraOf, cameraTable, faultsOf, kindOf, launchBrowser, listCameras, observe, openWall, PATIENCE, readStill, serve, showing, stopServing,
} from './wall.mjs';

const SENSOR = 'platform/vimc.0 Sensor B';
/** libcamera 0.0.3 (Debian 12) gives vimc's pictures in steps of 6 pixels, and does not tell; 0.4 (Debian 13) as they are asked for. */
const WIDTHS = { 1280: [1278, 1280], 320: [318, 320] };
const TABLE = cameraTable('sensor', 'libcamera');

let browser;
let page;

before(async () => {
  await guest('modprobe vimc && udevadm settle');
  await guest('install -m 755 /share/vimc.so /usr/lib/vimc.so');
  await guest('mkdir -p /etc/systemd/system/portald.service.d && printf "[Service]\\nEnvironment=LD_PRELOAD=/usr/lib/vimc.so\\n" >/etc/systemd/system/portald.service.d/vimc.conf');
});

after(async () => {
  await page?.screenshot({ path: join(logs, 'ribbon.png') }).catch(() => {});
  await browser?.close();
  await stopServing('ribbon');
  await tryGuest('rm /etc/systemd/system/portald.service.d/vimc.conf; systemctl daemon-reload; rmmod vimc');
});

test('without a configuration it is found, and none of its raw nodes', async () => {
  await guest('systemctl daemon-reload');
  await serve('');
  await until('a camera to be found', async () => (await listCameras()).length > 0, PATIENCE);
  const found = (await listCameras()).map(({ name, title }) => ({ name, title }));
  assert.deepEqual(found, [{ name: 'vimc-0-sensor-b', title: 'vimc.0 Sensor B' }]);
  browser = await launchBrowser();
  page = await browser.newPage();
  await page.goto(new URL('healthz', url).href);
  const still = await until('a still picture', () => page.evaluate(readStill, '/cameras/vimc-0-sensor-b/snapshot.jpg'), PATIENCE);
  assert.deepEqual([still.height, kindOf(still.row)], [720, 'bars']);
  assert.ok(WIDTHS[1280].includes(still.width), `${still.width} wide`);
  const { text } = await tryGuest('journalctl --no-pager -o cat -u portald');
  assert.match(text, /found vimc\.0 Sensor B at libcamera:platform\/vimc\.0 Sensor B/);
});

test('its picture moves on the wall, at the size that it gives', async () => {
  await serve(TABLE);
  await page.close();
  page = await openWall(browser);
  await observe(page, { sensor: 'bars' });
  // While the camera starts anew there is none.
  const { width, height } = await until('its full pictures', async () => (await cameraOf('sensor')).renditions.find(({ name }) => name === 'main'), PATIENCE);
  assert.ok(WIDTHS[320].includes(width) && height === 180, `${width}x${height}`);
});

test('it is closed when nobody watches, and opened again', async () => {
  for (let round = 0; round < 3; round += 1) {
    await page.goto('about:blank');
    await until('the camera to be idle', async () => (await cameraOf('sensor')).state === 'idle', PATIENCE);
    await page.close();
    page = await openWall(browser);
    await observe(page, { sensor: 'bars' });
    await showing(page, 'sensor', 'bars');
  }
  assert.deepEqual(await faultsOf('sensor'), {}, 'opened and closed in order');
  await page.goto('about:blank');
  await guest('systemctl stop portald', PATIENCE);
  const { text } = await tryGuest('systemctl show portald --property=NRestarts,Result');
  assert.equal(text, 'Result=success\nNRestarts=0\n', 'by one process, which then ended in order');
});

test('`portald devices` names it and says what it would take', async () => {
  // Not while the daemon has it open: vimc can be looked at by one at a time.
  const text = await guest('GST_REGISTRY=/var/cache/vm-gstreamer/registry.bin ORC_CODE=backup LD_PRELOAD=/usr/lib/vimc.so portald devices', { seconds: 300 });
  assert.match(text, new RegExp(`camera of libcamera: vimc.0 Sensor B\n {2}source = "libcamera:${SENSOR}"\n {2}is asked for 1280x720 RGB at 30 fps`));
  assert.doesNotMatch(text, /\/dev\/video/);
});
