// A kernel camera that fails in every way vivid knows, while it is watched beside a second one.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { guest, logs, tryGuest, until } from './guest.mjs';
import { cameraTable, launchBrowser, observe, openWall, PATIENCE, restartsOf, seen, serve, showing, stopServing, suffer } from './wall.mjs';

const CONTROL = 'v4l2-ctl -d /dev/video0 -c';

let browser;
let page;

before(async () => {
  await guest('modprobe vivid n_devs=2 node_types=0x1,0x1 num_inputs=1,1 input_types=0x00,0x00 && udevadm settle');
  await serve(cameraTable('first', '/dev/video0') + cameraTable('second', '/dev/video1'));
  browser = await launchBrowser();
  page = await openWall(browser);
  await observe(page, { first: 'bars', second: 'bars' });
});

after(async () => {
  await page?.screenshot({ path: join(logs, 'faults.png') }).catch(() => {});
  await browser?.close();
  await stopServing('faults');
  await tryGuest('rmmod vivid');
});

test('pictures that stop coming: the driver drops them all', async () => {
  await suffer(page, 'silence', {
    camera: 'first', other: 'second', said: /no picture for/,
    inflict: `${CONTROL} percentage_of_dropped_buffers=100`, mend: `${CONTROL} percentage_of_dropped_buffers=0`,
  });
});

test('disconnected, while another program keeps the device open: gone until that lets go', async () => {
  // The driver connects itself again as soon as nobody has it open; so somebody has.
  await guest('systemd-run -q --unit=holder bash -c "exec sleep 300 </dev/video0"');
  await suffer(page, 'disconnect', {
    camera: 'first', other: 'second', said: /unplugged/,
    inflict: `until [ "$(readlink /proc/$(systemctl show -P MainPID holder)/fd/0)" = /dev/video0 ]; do sleep 0.1; done; ${CONTROL} disconnect=1`,
    mend: 'systemctl stop holder',
  });
});

test('a fatal error of the stream', async () => {
  await suffer(page, 'fatal streaming error', { camera: 'first', other: 'second', inflict: `${CONTROL} inject_fatal_streaming_error=1` });
});

for (const call of ['reqbufs', 'qbuf', 'streamon']) {
  test(`an error of VIDIOC_${call.toUpperCase()} when it is opened again`, async () => {
    const before = await restartsOf('first');
    // The order matters: the first call of that name after it fails, which may be one of the stream that still runs.
    await suffer(page, call, {
      camera: 'first', other: 'second', inflict: `${CONTROL} inject_fatal_streaming_error=1,inject_vidioc_${call}_error=1`,
    });
    console.log(`${call}: ${JSON.stringify(before)} → ${JSON.stringify(await restartsOf('first'))}`);
  });
}

test('pictures marked as broken are left out, and that is all', async () => {
  // A busy machine brings a slate or a restart of its own now and then; what these pictures did, they would do each time.
  await until('nothing else to happen', async () => {
    const [before, from] = [await restartsOf('first'), Date.now()];
    await guest(`for n in 1 2 3 4 5 6 7 8 9 10; do ${CONTROL} inject_v4l2_buf_flag_error=1; done`);
    await showing(page, 'first', 'bars');
    assert.deepEqual((await seen(page, 'first', from)).changes, []);
    assert.deepEqual(await restartsOf('first'), before);
    return true;
  }, PATIENCE);
});
