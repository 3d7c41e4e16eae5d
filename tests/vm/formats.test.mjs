// Kernel cameras in the formats and sizes that drivers offer: still pictures of vivid, in every raw format that cameras are known
// to send, through the daemon's own source templates.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { guest, logs, put, tryGuest, until, url } from './guest.mjs';
import { cameraOf, cameraTable, launchBrowser, kindOf, PATIENCE, readStill, serve, stopServing } from './wall.mjs';

/** Two cameras: the first with the single-planar interface, the second with the multi-planar one, as on boards. */
const SIZES = { small: [320, 180], large: [640, 480] };
/** By GStreamer's names; NV12 is what is chosen where there is a choice. */
const FORMATS = ['YUY2', 'UYVY', 'BGR'];

let browser;
let page;

before(async () => {
  await guest('modprobe vivid n_devs=2 node_types=0x1,0x1 num_inputs=1,1 input_types=0x00,0x00 multiplanar=1,2 && udevadm settle');
  browser = await launchBrowser();
  page = await browser.newPage();
});

after(async () => {
  await page?.screenshot({ path: join(logs, 'formats.png') }).catch(() => {});
  await browser?.close();
  await stopServing('formats');
  await tryGuest('rm -rf /etc/portald/pipelines; rmmod vivid');
});

test('by itself the daemon takes NV12, in the size that is wished for', () => shows(/320x180 at 5\/1 as NV12/, /640x480 at 5\/1 as NV12/));

for (const format of FORMATS) {
  test(`${format}, asked for by a template of the user's`, async () => {
    put('v4l2-raw.pipeline', `# about: As ours, of one format
# element: v4l2src
v4l2src name=source device={device} ! video/x-raw,format=${format},width={width},height={height},framerate={framerate}
`);
    await guest('install -D -m 644 /share/v4l2-raw.pipeline /etc/portald/pipelines/source/v4l2-raw.pipeline');
    await shows();
    const { text } = await tryGuest('v4l2-ctl -d /dev/video0 --get-fmt-video; v4l2-ctl -d /dev/video1 --get-fmt-video');
    assert.equal(text.match(/Pixel Format/g)?.length, 2, text);
    assert.ok(!text.includes("'NV12'") && !text.includes("'NM12'"), text);
  });
}

/** Both cameras' stills show vivid's bars in their sizes; `said` is in the journal. */
async function shows(...said) {
  await serve(cameraTable('small', '/dev/video0') + cameraTable('large', '/dev/video1', { width: 640, height: 480 }));
  await page.goto(new URL('healthz', url).href);
  for (const [name, [width, height]] of Object.entries(SIZES)) {
    const still = await until(`a still picture of ${name}`, () => page.evaluate(readStill, `/cameras/${name}/snapshot.jpg`), PATIENCE);
    assert.deepEqual([still.width, still.height, kindOf(still.row)], [width, height, 'bars'], name);
    // It may be a little late just now: the processor is emulated.
    await until(`nothing to be wrong with ${name}`, async () => {
      const { reason } = await cameraOf(name);
      return reason === null ? true : Promise.reject(new Error(reason));
    }, PATIENCE);
  }
  const journal = await guest('journalctl -u portald -o cat');
  for (const words of said) assert.match(journal, words);
}
