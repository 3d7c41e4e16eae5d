/** The client module in pages that somebody else wrote: of another origin, for the portals library, on their way out. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test, { after, before } from 'node:test';
import { ENGINE } from './engines.mjs';
import { cameraTable, Daemon, faultsOf, keepPicture, launchBrowser, openPage, until } from './harness.mjs';
import { presentedBy, serve, Tap } from './pages.mjs';

/** What a page for the library imports; this alone is changed. */
const LIBRARY = '@openlab/portals/client.js';
const STOCK = readFileSync(new URL('stock-client.js', import.meta.url), 'utf8');
const PAGE = readFileSync(new URL('pages/library.html', import.meta.url), 'utf8');
/** Guns that a page opens and closes again. */
const GUNS = 50;

let browser;
let daemon;
let site;
before(async () => {
  browser = await launchBrowser(['--js-flags=--expose-gc']);
  // Nobody listens there; what is looked at is who is told of it.
  daemon = await Daemon.start(`[ice]\nstun = ["stun:127.0.0.1:34789"]\n${cameraTable('alpha')}`);
  site = await serve({
    '/': '<!doctype html><title>Blank</title>',
    '/stock-client.js': STOCK,
    '/library.html': PAGE.replace(LIBRARY, '/stock-client.js'),
    '/portald.html': PAGE.replace(LIBRARY, `${daemon.url}client.js`),
  });
});
after(async () => {
  await browser?.close();
  await daemon?.stop();
  site?.close();
});

/**
 * A test whose pages are closed when it ends.
 * @param {string} name
 * @param {() => Promise<void>} body
 */
function withPages(name, body) {
  test(name, async () => {
    try {
      await body();
    } finally {
      await Promise.all(browser.contexts().map((context) => context.close()));
    }
  });
}

withPages('a page written for the library runs with only the import changed', async () => {
  assert.equal(PAGE.split(LIBRARY).length, 2, 'it is named once');
  const open = (page) => openPage(browser, `${site.url}${page}?room=mesh&server=${encodeURIComponent(daemon.url)}`);
  const [stock, ours] = [await open('library.html'), await open('portald.html')];
  for (const page of [stock, ours]) {
    await moves(page, '!alpha');
    await moves(page, await idOf(page === stock ? ours : stock));
  }
  await keepPicture(ours, 'import-changed');
  const connections = await ours.evaluate(() => window.connections);
  await stock.context().close();
  await until('the picture of who left to be gone', () => ours.evaluate(() => document.querySelectorAll('video').length === 1));
  await moves(ours, '!alpha');
  assert.equal(await ours.evaluate(() => window.connections), connections, 'who goes costs nobody else a connection');
  const nowhere = await openPage(browser, `${site.url}portald.html?room=nowhere&server=${encodeURIComponent(daemon.url)}`);
  await until('the error', async () => await nowhere.title() === 'room_not_found');
  assert.deepEqual([...faultsOf(ours), ...faultsOf(nowhere)], []);
});

withPages('messages of one’s own go to one or to everyone; those of the server cannot be forged', async () => {
  // Those here are to meet each other, and nobody else.
  await until('the pages of before to be gone', async () => await seated() === 0);
  const page = await blank();
  const outcome = await page.evaluate(async (server) => {
    const { PortalGun } = await import(`${server}client.js`);
    const heard = [];
    const errors = [];
    const guns = [0, 1, 2].map((name) => {
      const gun = new PortalGun({ room: 'mesh', rtc: {}, accept: ({ kind }) => kind === 'peer' });
      for (const type of ['chat', 'wave', 'end']) {
        gun.signaler.addEventListener(type, (payload, from) => heard.push([name, type, payload, from]));
      }
      gun.addEventListener('error', ({ code, message }) => errors.push([name, code, message]));
      return gun;
    });
    const met = (gun) => new Promise((resolve) => {
      const look = () => gun.portals.size === 2 && resolve();
      gun.addEventListener('connection', look);
      look();
    });
    await Promise.all(guns.map(met));
    const [a, b, c] = guns;
    const names = guns.map(({ id }) => id);
    a.signaler.send('chat', { text: 'to one' }, b.id);
    a.signaler.send('chat', { text: 'to nobody' });
    for (const id of a.portals.keys()) a.signaler.send('wave', 7, id);
    for (const type of ['info', 'error', 'ping', 'pong', 'type', 'from', 'target']) {
      a.signaler.send(type, { id: 'forged', members: [], code: 'forged' }, b.id);
    }
    // What is sent by one to another comes in its order, so all before this has been dealt with.
    const ends = [b, c].map((gun) => new Promise((resolve) => gun.signaler.addEventListener('end', resolve)));
    for (const { id } of [b, c]) a.signaler.send('end', true, id);
    await Promise.all(ends);
    // And what the server had to say to the sender was said before its next answer.
    await new Promise((resolve) => {
      c.signaler.addEventListener('chat', () => a.signaler.addEventListener('chat', resolve));
      a.signaler.send('chat', 'there', c.id);
      c.signaler.addEventListener('chat', () => c.signaler.send('chat', 'back', a.id));
    });
    const told = { b: b.id, size: b.portals.size };
    for (const gun of guns) gun.close();
    return { heard, errors, names, told };
  }, daemon.url);
  const { heard, errors, names: [a, b, c], told } = outcome;
  assert.deepEqual(heard.filter(([, type]) => type !== 'end').sort(), [
    [0, 'chat', 'back', c], [1, 'chat', { text: 'to one' }, a], [1, 'wave', 7, a], [2, 'chat', 'there', a], [2, 'wave', 7, a],
  ].sort());
  assert.deepEqual(told, { b, size: 2 }, 'a forged roster changes nothing');
  assert.ok(errors.length > 0 && errors.every(([who, code]) => who === 0 && code === 'bad_message'), JSON.stringify(errors));
});

withPages('the server’s ICE servers are used, unless the page has its own', async () => {
  const page = await blank();
  const used = await page.evaluate(async (server) => {
    const { PortalGun } = await import(`${server}client.js`);
    const servers = async (options) => {
      const gun = new PortalGun({ room: 'home', ...options });
      const portal = await new Promise((resolve) => gun.addEventListener('connection', resolve));
      const { iceServers } = portal.peer.getConfiguration();
      gun.close();
      return iceServers.map(({ urls }) => urls).flat();
    };
    return { given: await servers({}), own: await servers({ rtc: { iceServers: [{ urls: 'stun:192.0.2.7' }] } }) };
  }, daemon.url);
  const { iceServers } = await daemon.get('api/rtc');
  assert.deepEqual(used.given, iceServers.map(({ urls }) => urls).flat());
  assert.match(used.given[0], /^stun:127\.0\.0\.1:/);
  assert.deepEqual(used.own, ['stun:192.0.2.7']);
});

withPages('who closes, or leaves the page, gives up the seat at once', async () => {
  const tap = await Tap.to(daemon.port);
  try {
    const open = async () => {
      const page = await openPage(browser, `${site.url}portald.html?room=mesh&server=${encodeURIComponent(tap.url)}`);
      await moves(page, '!alpha');
      assert.equal(await seated(), 1);
      return page;
    };
    const gone = async (...codes) => {
      await until('the socket to be closed', async () => tap.codes.length > 0);
      const code = tap.codes.shift();
      assert.ok(codes.includes(code), String(code));
      await until('the seat to be free', async () => await seated() === 0);
    };
    await until('the pages of before to be gone', async () => await seated() === 0);
    const closes = await open();
    await closes.evaluate(() => window.portalGun.close());
    await gone(1000);
    const navigates = await open();
    await navigates.goto('about:blank');
    // Firefox closes a page's sockets before the page hears that it goes.
    await gone(1000, 1001);
    const shuts = await open();
    await shuts.close({ runBeforeUnload: true });
    await gone(1000, 1001);

    // A page that the browser keeps for the way back, and goes on with.
    const kept = await open();
    await kept.evaluate(() => dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true })));
    await gone(1000);
    const before = await kept.evaluate(() => window.connections);
    await kept.evaluate(() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })));
    await until('a new connection', () => kept.evaluate((count) => window.connections > count, before));
    await moves(kept, '!alpha');
    assert.equal(await seated(), 1);
    assert.deepEqual(tap.codes, []);
  } finally {
    tap.close();
  }
});

withPages(`${GUNS} guns opened and closed leave nothing behind`, async () => {
  const context = await browser.newContext();
  await context.addInitScript(countWhatRuns);
  const page = await context.newPage();
  await page.goto(site.url);
  await page.evaluate(async (server) => { window.client = await import(`${server}client.js`); }, daemon.url);
  const before = await page.evaluate(() => window.running());
  const most = await page.evaluate(openAndClose, GUNS);
  assert.ok(most.sockets > 0 && most.peers > 0 && most.timers > 0 && most.listeners > 0, `they were counted: ${JSON.stringify(most)}`);
  const now = () => page.evaluate(() => window.running());
  await until('all to be as before', async () => JSON.stringify(await now()) === JSON.stringify(before), now);
  const left = () => page.evaluate(async () => {
    // In a task of its own: what lies on the stack would be taken for used.
    await window.gc({ type: 'major', execution: 'async' });
    return window.guns.flatMap((gun, index) => (gun.deref() ? [index] : []));
  });
  // Firefox collects no garbage when asked. Chromium (seen in 156) itself holds on to one now and then whose pictures had begun;
  // what is ours would hold all.
  if (ENGINE === 'chromium') await until('the guns to be forgotten', async () => (await left()).length <= GUNS / 10, left);
  await until('the viewers to be gone', async () => (await daemon.viewers()).alpha === 0);
  await until('the room to be empty', async () => (await daemon.get('api/rooms')).every(({ members }) =>
    members.every(({ kind }) => kind === 'camera')));
});

/** How many are in the room beside its camera; who went without a word keeps the seat for a while. */
async function seated() {
  const { members } = (await daemon.get('api/rooms')).find(({ name }) => name === 'mesh');
  return members.filter(({ kind }) => kind === 'peer').length;
}

async function blank() {
  return openPage(browser, site.url);
}

/** The member id that a page of pages/library.html has. */
async function idOf(page) {
  return until('a seat', async () => {
    const title = await page.title();
    return title.length === 36 && title;
  });
}

/** Waits until a page of pages/library.html shows pictures of `id` that move. */
async function moves(page, id) {
  const frames = async () => (await page.locator(`[id="${id}"]`).evaluateAll(presentedBy))[0]?.frames ?? 0;
  const first = await until(`pictures of ${id}`, frames);
  await until(`pictures of ${id} to move`, async () => await frames() > first + 3);
}

/** Runs in the page before anything else: counts what is under way. */
function countWhatRuns() {
  const timers = new Set();
  const [set, clear] = [window.setTimeout.bind(window), window.clearTimeout.bind(window)];
  const repeat = window.setInterval.bind(window);
  window.setTimeout = (act, ms, ...values) => {
    const id = set(() => {
      timers.delete(id);
      act(...values);
    }, ms);
    timers.add(id);
    return id;
  };
  window.setInterval = (...values) => {
    const id = repeat(...values);
    timers.add(id);
    return id;
  };
  // One list of numbers for both kinds, by the standard.
  window.clearTimeout = window.clearInterval = (id) => {
    timers.delete(id);
    clear(id);
  };
  const made = (name) => {
    const all = new Set();
    window[name] = new Proxy(window[name], { construct: (kind, values, target) => {
      const one = Reflect.construct(kind, values, target);
      all.add(one);
      return one;
    } });
    return all;
  };
  const [sockets, peers] = [made('WebSocket'), made('RTCPeerConnection')];
  let listeners = 0;
  for (const target of [window, document]) {
    const [add, remove] = [target.addEventListener.bind(target), target.removeEventListener.bind(target)];
    target.addEventListener = (type, listener, options) => {
      listeners++;
      options?.signal?.addEventListener('abort', () => listeners--);
      add(type, listener, options);
    };
    target.removeEventListener = (...values) => {
      listeners--;
      remove(...values);
    };
  }
  let requests = 0;
  const ask = window.fetch.bind(window);
  window.fetch = (...values) => {
    requests++;
    return ask(...values).finally(() => requests--);
  };
  window.running = () => {
    for (const one of sockets) if (one.readyState === one.CLOSED) sockets.delete(one);
    for (const one of peers) if (one.signalingState === 'closed') peers.delete(one);
    return { timers: timers.size, sockets: sockets.size, peers: peers.size, listeners, requests };
  };
}

/** Runs in the page: opens guns, closes each at another stage of its life, and returns the most that was under way. */
async function openAndClose(count) {
  const most = {};
  window.guns = [];
  const stages = [
    () => {},
    (gun) => new Promise((resolve) => gun.addEventListener('state', resolve)),
    (gun) => new Promise((resolve) => gun.addEventListener('connection', resolve)),
    (gun) => new Promise((resolve) => gun.addEventListener('connection', ({ peer }) => {
      peer.addEventListener('connectionstatechange', () => peer.connectionState === 'connected' && resolve());
    })),
    (gun) => new Promise((resolve) => gun.addEventListener('connection', (portal) => {
      portal.addEventListener('track', ({ track }) => track.addEventListener('unmute', resolve));
    })),
    // Lost, and waiting to try again.
    (gun) => new Promise((resolve) => gun.addEventListener('info', () => resolve(gun.signaler.reconnect()))),
  ];
  const one = async (stage) => {
    const gun = new window.client.PortalGun({ room: 'home' });
    window.guns.push(new WeakRef(gun));
    await stage(gun);
    for (const [name, value] of Object.entries(window.running())) most[name] = Math.max(most[name] ?? 0, value);
    gun.close();
  };
  for (let i = 0; i < count; i += 5) {
    await Promise.all(Array.from({ length: Math.min(5, count - i) }, (_, n) => one(stages[(i + n) % stages.length])));
  }
  return most;
}
