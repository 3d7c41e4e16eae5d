// The package as people install it: nothing is configured, and the camera that is plugged in is on the wall.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { guest, logs, tryGuest, until, url } from './guest.mjs';
import { launchBrowser, openWall, PATIENCE, stopServing } from './wall.mjs';

let browser;

before(async () => {
  // What other tests put in its places; the settings for an emulated processor stay.
  await guest('systemctl stop portald 2>/dev/null; rm -rf /etc/systemd/system/portald.service /usr/bin/portald /etc/portald');
  await guest('modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x00 && udevadm settle');
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await stopServing('package');
  await tryGuest('dpkg --purge portald; rmmod vivid; systemctl daemon-reload', PATIENCE);
});

test('after dpkg -i the camera that is plugged in is on the wall, by the unit that the package enabled and started', async () => {
  await guest('mkdir -p /etc/systemd/system/portald.service.d && systemctl daemon-reload && DEBIAN_FRONTEND=noninteractive dpkg -i /share/portald.deb', { seconds: 300 });
  assert.equal((await guest('systemctl is-enabled portald')).trim(), 'enabled');
  assert.equal((await guest('systemctl is-active portald')).trim(), 'active');
  await until('the daemon to serve', async () => (await fetch(new URL('/healthz', url))).ok, PATIENCE);
  const [camera] = await until('the camera that nobody configured', async () => {
    const cameras = await (await fetch(new URL('/api/cameras', url))).json();
    return cameras.length > 0 && cameras;
  }, PATIENCE);
  const page = await openWall(browser);
  // Two different pictures with the driver's colour bars: a slate moves, too. The defaults, 720p at 30 a second, are much for an
  // emulated processor, so how many come is not asked.
  const look = () => page.evaluate(() => {
    const tile = [...(window.portald?.tiles.values() ?? [])][0];
    if (!tile?.video.videoWidth) return null;
    const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 36 });
    const context = canvas.getContext('2d');
    context.drawImage(tile.video, 0, 0, 64, 36);
    return { kind: window.kindOf(context.getImageData(0, 32, 64, 1).data), frames: tile.frames };
  });
  const patience = { seconds: 240 };
  const first = await until(`pictures of ${camera.name}`, async () => {
    const seen = await look();
    return seen?.kind === 'bars' && seen;
  }, patience);
  await until('more of them', async () => {
    const seen = await look();
    return seen?.kind === 'bars' && seen.frames > first.frames;
  }, patience);
  await page.screenshot({ path: join(logs, 'package.png') });
  // The sandbox lets the unit's own user at the device, and nobody else has it open.
  const user = (await guest('ps -o user= -p $(systemctl show -p MainPID --value portald)')).trim();
  assert.equal(user, 'portald');
});
