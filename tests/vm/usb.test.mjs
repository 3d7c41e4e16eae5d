// A USB camera on a real USB stack: guest/usbcam.c on dummy_hcd, seen through uvcvideo. Plugged in and pulled out again and again while
// it is watched; and found by its own name, whatever number it gets.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { GSTREAMER, guest, logs, tryGuest, until } from './guest.mjs';
import { cameraOf, cameraTable, faultsOf, launchBrowser, observe, openWall, PATIENCE, seen, serve, showing, stopServing, suffer } from './wall.mjs';

/** Each is opened, watched and gone. */
const ROUNDS = 20;
/** udev's name of it, from what it says of itself. */
const BY_ID = '/dev/v4l/by-id/usb-portald_Test_camera_A1-video-index0';
const VIVID = 'modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x00 && udevadm settle';
const UNPLUG = 'systemctl kill --signal=KILL usbcam';
// Where the emulated processor is too slow to answer in the driver's time, that gives the camera up for good; what people do then helps.
const plug = (format) => `for attempt in 1 2 3; do
    systemd-run -q --collect --unit=usbcam --service-type=exec /share/usbcam ${format} 320 180 5 A1 /tmp/${format}
    for wait in {1..50}; do [ -e ${BY_ID} ] && exit 0; sleep 0.3; done
    ${UNPLUG}; while systemctl -q is-active usbcam; do sleep 0.3; done
  done; exit 1`;

let browser;
let page;

before(async () => {
  // Its pictures are vivid's, mirrored: no camera can be taken for the other.
  await guest(`${VIVID} && modprobe dummy_hcd && modprobe gadgetfs && modprobe uvcvideo
    mkdir -p /dev/gadget /tmp/yuyv /tmp/mjpeg && mount -t gadgetfs gadgetfs /dev/gadget
    ${GSTREAMER}
    v4l2-ctl -c horizontal_flip=1
    gst-launch-1.0 -q v4l2src num-buffers=15 ! video/x-raw,format=YUY2,width=320,height=180,framerate=10/1 ! tee name=both \
      both. ! queue ! multifilesink location=/tmp/yuyv/%02d  both. ! queue ! jpegenc ! multifilesink location=/tmp/mjpeg/%02d
    v4l2-ctl -c horizontal_flip=0`, PATIENCE);
  await guest(plug('yuyv'), PATIENCE);
});

after(async () => {
  await page?.screenshot({ path: join(logs, 'usb.png') }).catch(() => {});
  await browser?.close();
  await stopServing('usb');
  await tryGuest(`${UNPLUG}; umount /dev/gadget; rmmod gadgetfs dummy_hcd uvcvideo vivid`);
});

test('numbers in the configuration are resolved to names that stay, and the log says which', async () => {
  const number = async (path) => (await guest(`readlink -f ${path}`)).trim();
  const usb = await number(BY_ID);
  await serve(cameraTable('usb', usb) + cameraTable('vivid', '/dev/video0'));
  browser = await launchBrowser();
  page = await openWall(browser);
  await observe(page, { usb: 'mirrored', vivid: 'bars' });
  assert.equal((await cameraOf('usb')).source, BY_ID);
  assert.equal((await cameraOf('vivid')).source, '/dev/v4l/by-path/platform-vivid.0-video-index0');
  const journal = await guest('journalctl -u portald -o cat');
  assert.ok(journal.includes(`camera usb: ${usb} is ${BY_ID}, and is followed by that name`), journal);
});

test(`pulled out and plugged in ${ROUNDS} times while watched: always back on the same connection, and nothing is left behind`, async () => {
  const before = await held();
  const took = [];
  for (let round = 1; round <= ROUNDS; round++) {
    // Every other time it has become a camera that sends JPEGs, and the other way round.
    const format = round % 2 ? 'mjpeg' : 'yuyv';
    took.push(await suffer(page, `round ${round}, ${format}`, {
      camera: 'usb', kind: 'mirrored', other: 'vivid', said: /no device at|unplugged/, inflict: UNPLUG, mend: plug(format),
    }));
  }
  const worst = (part) => Math.max(...took.map((one) => one[part] ?? 0)).toFixed(0);
  console.log(`${ROUNDS} rounds: slate after ${worst('slate')} ms at worst, live ${worst('live')} ms after plugging in at worst`);
  assert.deepEqual(Object.keys(await faultsOf('usb')), ['unplugged']);
  assert.deepEqual(await faultsOf('vivid'), {});
  // What is being closed is closed some time later, and the threads of a pool come and go: what each round leaves behind would be more.
  const some = ROUNDS / 4;
  let now;
  await until('threads and descriptors to be as before', async () => {
    now = await held();
    return ['descriptors', 'threads'].every((what) => now[what] < before[what] + some)
      ? true : Promise.reject(new Error(JSON.stringify({ before, now })));
  }, PATIENCE);
  console.log(`the daemon has ${now.descriptors} descriptors and ${now.threads} threads; before: ${before.descriptors}, ${before.threads}`);
});

test('plugged in again in another order, each camera has another number and is itself', async () => {
  const numbers = async () => (await guest(`readlink -f ${BY_ID} /dev/v4l/by-path/platform-vivid.0-video-index0`)).trim().split('\n');
  const before = await numbers();
  await guest(`${UNPLUG}; echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind`);
  for (const name of ['usb', 'vivid']) {
    await until(`${name} to be gone`, async () => (await cameraOf(name)).state === 'absent', PATIENCE);
  }
  // The driver's numbers go by who comes first.
  const [first, second] = before[0] < before[1] ? [VIVID, plug('yuyv')] : [plug('yuyv'), VIVID];
  await until('the driver to be free', async () => (await tryGuest('rmmod vivid')).code === 0, PATIENCE);
  await guest(first, PATIENCE);
  await until('the first to have its number', async () => Number((await guest('ls /dev/video* | wc -l')).trim()) > 0, PATIENCE);
  await guest(second, PATIENCE);
  await showing(page, 'usb', 'mirrored');
  await showing(page, 'vivid', 'bars');
  const after = await numbers();
  console.log(`usb and vivid: ${before} → ${after}`);
  assert.notDeepEqual(after, before);
  for (const name of ['usb', 'vivid']) assert.ok((await seen(page, name)).isSame, `${name} on its connection`);
});

/** What the daemon has open, and how many threads it has. */
async function held() {
  const text = await guest('pid=$(systemctl show -P MainPID portald); ls /proc/$pid/fd | wc -l; ls /proc/$pid/task | wc -l');
  const [descriptors, threads] = text.trim().split('\n').map(Number);
  return { descriptors, threads };
}
