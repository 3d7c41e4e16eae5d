/** Several boxes, one wall: two boxes show their cameras on a third, whoever is killed and started again. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import test, { after, before } from 'node:test';
import {
  allLive, artifacts, cameraTable, Daemon, faultsOf, interruptionsOf, keepPicture, launchBrowser, moreFrames, openMember,
  openPage, Relay, servePages, showsCamera, tilesOf, until, watchTiles,
} from './harness.mjs';

const EVERYBODY = ['alpha', 'barn.bravo', 'yard.charlie'];

let browser;
let boxes;
before(async () => {
  const token = path.join(artifacts, 'uplink-token');
  writeFileSync(token, 'barn-and-yard-may-come-in\n', { mode: 0o600 });
  browser = await launchBrowser();
  const hub = await Daemon.start(`${cameraTable('alpha')}[access]\nuplink_token_file = "${token}"\n`);
  const uplink = (name) =>
    `[uplink.hub]\nurl = "ws://127.0.0.1:${hub.port}/portal"\nroom = "home"\nbox = "${name}"\ntoken_file = "${token}"\n`;
  const [barn, yard] = await Promise.all([
    Daemon.start(cameraTable('bravo') + uplink('barn')),
    Daemon.start(cameraTable('charlie') + uplink('yard')),
  ]);
  boxes = { hub, barn, yard };
});
after(async () => {
  await browser?.close();
  await Promise.all(Object.values(boxes ?? {}).map((box) => box.stop()));
});

test('a wall shows the cameras of three boxes, and heals when one of them is killed and started again', async () => {
  const { hub, barn, yard } = boxes;
  const wall = await openPage(browser, hub.url);
  await wall.evaluate(() => { window.notReloaded = true; });
  await allLive(wall, EVERYBODY);
  for (const name of EVERYBODY) await showsCamera(wall, name);
  assert.equal((await tilesOf(wall))['barn.bravo'].name, 'barn.bravo');
  await allListed();
  await keepPicture(wall, 'three-boxes');

  // One box dies without a word: its tile says so, and nobody else's pictures notice.
  await watchTiles(wall);
  await barn.stop('SIGKILL');
  await until('the API to say that the box does not answer', async () =>
    (await hub.get('api/cameras')).some(({ name, state, reason }) =>
      name === 'barn.bravo' && state === 'absent' && /box does not answer/.test(reason)), () => hub.get('api/cameras'));
  await until('its tile to say that it is not live', async () => {
    const tile = (await tilesOf(wall))['barn.bravo'];
    return tile === undefined || tile.phase !== 'live';
  }, () => tilesOf(wall));
  await keepPicture(wall, 'barn-killed');
  await until('it to be taken off the wall', async () => !('barn.bravo' in await tilesOf(wall)), () => tilesOf(wall));
  await moreFrames(wall, 10);

  const started = Date.now();
  await barn.run();
  await allLive(wall, EVERYBODY);
  await showsCamera(wall, 'barn.bravo');
  console.log(`the barn is live again ${Date.now() - started} ms after its start`);
  const { rebuilt, lapses } = await interruptionsOf(wall);
  assert.deepEqual(rebuilt, ['barn.bravo']);
  assert.deepEqual(lapses.filter((text) => !text.includes('Camera bravo')), []);

  // The hub dies: pictures of other boxes go on, since they never went through it.
  await hub.stop('SIGKILL');
  await until('the tile of the hub to stand still', async () => (await tilesOf(wall)).alpha.phase !== 'live', () => tilesOf(wall));
  const frames = async () => Object.values(await tilesOf(wall)).filter(({ name }) => name !== 'alpha').map((tile) => tile.frames);
  const before = await frames();
  await until('pictures of the others', async () => (await frames()).every((count, n) => count > before[n] + 10), () => tilesOf(wall));
  const back = Date.now();
  await hub.run();
  await allListed();
  await allLive(wall, EVERYBODY);
  for (const name of EVERYBODY) await showsCamera(wall, name);
  console.log(`everything is live again ${Date.now() - back} ms after the hub's start`);

  // A box that crashes and is started again at once meets its own old seat, and waits until nobody can come back to it.
  await yard.stop('SIGKILL');
  await yard.run();
  await until('the yard to be told to wait', async () => yard.log().includes('the key of its seat was not shown'), () => yard.log());
  await allListed();
  await showsCamera(wall, 'yard.charlie');
  assert.equal(await wall.evaluate(() => window.notReloaded), true);
  assert.deepEqual(faultsOf(wall), []);
});

test("pages on the portals library's own server see a camera of ours, whoever comes and whatever is started again", async () => {
  const pages = await servePages();
  let relay = await Relay.start();
  const link = `[uplink.far]\nurl = "ws://127.0.0.1:${relay.port}/portal"\nroom = "home"\nbox = "shed"\n`;
  const shed = await Daemon.start(cameraTable('alpha') + link);
  try {
    const viewer = await openMember(browser, pages, relay, { room: 'home', client: 'stock' });
    await showsCamera(viewer, 'shed.alpha');
    // One with a webcam: it offers at once, and has to roll back for the camera.
    const guest = await openMember(browser, pages, relay, { room: 'home', client: 'stock', publish: '' });
    for (const page of [guest, viewer]) await showsCamera(page, 'shed.alpha');
    const before = await connections(viewer);
    await guest.close();
    await until('everything to be built anew', async () => await connections(viewer) > before, () => connections(viewer));
    await showsCamera(viewer, 'shed.alpha');

    // Their connection goes on without the server, so that only a new one proves that both are back.
    const lost = await connections(viewer);
    await relay.stop();
    relay = await Relay.start(relay.port);
    await until('the camera and the page to meet again', async () => await connections(viewer) > lost, () => connections(viewer));
    await showsCamera(viewer, 'shed.alpha');
    await shed.stop('SIGKILL');
    await shed.run();
    await showsCamera(viewer, 'shed.alpha');
    assert.deepEqual(faultsOf(viewer), []);
  } finally {
    await Promise.all([shed.stop(), relay.stop()]);
    pages.close();
  }
});

/** Times that a member's page was told of the camera, and built a connection with it. */
function connections(page) {
  return page.evaluate(() => window.member.infos.filter(({ members }) => members.some(({ id }) => id === '!shed.alpha')).length);
}

/** Waits until the hub lists every camera as live and watched by one. */
function allListed() {
  const list = () => boxes.hub.get('api/cameras');
  return until('all to be listed as live and watched', async () => {
    const cameras = await list();
    return EVERYBODY.every((name) =>
      cameras.some((camera) => camera.name === name && camera.state === 'live' && camera.viewers === 1));
  }, list);
}
