/** The client module without a browser: its API, what it sends, and when it knocks again. Sockets and time are made here. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import test, { afterEach, beforeEach } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import * as client from '../../web/client.js';

const { debounce, Portal, PortalError, PortalGun, SignalingChannel } = client;
const URL_OF_ROOM = 'ws://box.lan/portal';
const real = { setTimeout, clearTimeout, setInterval, clearInterval, random: Math.random, date: Date.now };

/** Time that passes when it is told to; `performance.now()` and `Date.now()` with it. */
class Clock {
  now = 0;
  #next = 1;
  /** @type {Map<number, { at: number, every?: number, act: () => void }>} */
  timers = new Map();

  constructor() {
    const add = (act, ms = 0, every) => this.timers.set(this.#next, { at: this.now + ms, every, act }) && this.#next++;
    globalThis.setTimeout = (act, ms) => add(act, ms);
    globalThis.setInterval = (act, ms) => add(act, ms, ms);
    globalThis.clearTimeout = globalThis.clearInterval = (id) => this.timers.delete(id);
    performance.now = Date.now = () => this.now;
  }

  /** The timer that is due first. */
  get first() {
    return [...this.timers].sort(([, a], [, b]) => a.at - b.at)[0];
  }

  /** How long until the first that is no beat. */
  get wait() {
    return Math.min(...[...this.timers.values()].filter(({ every }) => !every).map(({ at }) => at)) - this.now;
  }

  pass(ms) {
    const end = this.now + ms;
    for (let due = this.first; due && due[1].at <= end; due = this.first) {
      const [id, { at, every, act }] = due;
      this.now = at;
      if (every) this.timers.get(id).at += every;
      else this.timers.delete(id);
      act();
    }
    this.now = end;
  }

  stop() {
    Object.assign(globalThis, { setTimeout: real.setTimeout, clearTimeout: real.clearTimeout,
      setInterval: real.setInterval, clearInterval: real.clearInterval });
    delete performance.now;
    Date.now = real.date;
  }
}

/** A socket whose other end is the test. */
class Socket {
  static OPEN = 1;
  /** @type {Socket[]} */
  static all = [];
  readyState = 0;
  sent = [];
  closedWith = undefined;

  constructor(url) {
    this.url = new URL(url);
    Socket.all.push(this);
  }

  static get last() {
    return Socket.all.at(-1);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close(code) {
    this.readyState = 3;
    this.closedWith ??= code;
  }

  open() {
    this.readyState = 1;
    this.onopen();
  }

  hear(message) {
    this.onmessage({ data: typeof message === 'string' ? message : JSON.stringify(message) });
  }

  seat(info) {
    this.open();
    this.hear({ type: 'info', info: { members: [], ...info } });
  }

  lose() {
    this.readyState = 3;
    this.onclose({ code: 1006, reason: '' });
  }

  /** What was sent of one type. */
  of(type) {
    return this.sent.filter((message) => message.type === type);
  }
}

/** A connection that is never made. */
class Peer extends EventTarget {
  signalingState = 'stable';
  connectionState = 'new';
  tracks = [];

  constructor(configuration) {
    super();
    this.configuration = configuration;
  }

  addTrack(...values) {
    this.tracks.push(values);
  }

  getReceivers() {
    return [];
  }

  close() {
    this.signalingState = 'closed';
  }
}

let clock;
/** Closed after each test. */
let open = [];
beforeEach(() => {
  clock = new Clock();
  Socket.all = [];
  Object.assign(globalThis, { WebSocket: Socket, RTCPeerConnection: Peer, reportError: (error) => { throw error; } });
});
afterEach(() => {
  for (const one of open.splice(0)) one.close();
  assert.equal(clock.timers.size, 0, 'nothing is left to happen');
  clock.stop();
  Math.random = real.random;
});

function newChannel(...values) {
  const channel = new SignalingChannel(...(values.length ? values : [`${URL_OF_ROOM}?room=home`]));
  open.push(channel);
  return channel;
}

function newGun(options = {}) {
  const gun = new PortalGun({ room: 'home', url: URL_OF_ROOM, rtc: {}, ...options });
  open.push(gun);
  const heard = [];
  for (const type of ['connection', 'disconnection', 'info', 'error', 'debug', 'state']) {
    gun.addEventListener(type, (...values) => heard.push([type, ...values]));
  }
  const of = (wanted) => heard.filter(([type]) => type === wanted).map(([, ...values]) => values);
  return { gun, of };
}

test('the module has the names of the portals client, and few more', () => {
  assert.deepEqual(Object.keys(client).sort(), ['Latency', 'Portal', 'PortalError', 'PortalGun', 'SignalingChannel', 'debounce']);
  for (const name of ['addEventListener', 'removeEventListener', 'emit', 'close']) {
    for (const one of [PortalGun, Portal, SignalingChannel]) assert.equal(typeof one.prototype[name], 'function', name);
  }
  assert.equal(typeof Portal.prototype.addMediaStream, 'function');
});

test('debounce acts once, when it has been quiet', () => {
  let times = 0;
  const soon = debounce(100, () => times++);
  for (let i = 0; i < 5; i++) {
    soon();
    clock.pass(99);
  }
  assert.equal(times, 0);
  clock.pass(1);
  assert.equal(times, 1);
});

test('a channel asks for its room, also with both apart as in the library, and keeps what else the address says', () => {
  newChannel('http://box.lan:8080/portal?room=home&token=x');
  assert.equal(Socket.last.url.href, 'ws://box.lan:8080/portal?room=home&token=x&sessions=1');
  newChannel({ url: 'wss://box.lan/portal', room: 'a b' });
  assert.equal(Socket.last.url.href, 'wss://box.lan/portal?room=a+b&sessions=1');
});

test('messages have the library’s form, of any type, to the server and to one member', () => {
  const channel = newChannel();
  Socket.last.seat({ id: 'me' });
  assert.equal(channel.send('chat', { text: 'hello' }, 'you'), true);
  channel.send('wave');
  assert.deepEqual(Socket.last.sent, [
    { type: 'chat', chat: { text: 'hello' }, target: 'you' }, { type: 'wave', wave: {} },
  ]);
  const heard = [];
  channel.addEventListener('chat', (...values) => heard.push(values));
  Socket.last.hear({ type: 'chat', chat: { text: 'hi' }, from: 'you' });
  Socket.last.hear({ type: 'chat', chat: null });
  assert.deepEqual(heard, [[{ text: 'hi' }, 'you'], [null, undefined]]);
});

test('a server with a format of its own is spoken to in it', () => {
  const channel = newChannel({
    url: URL_OF_ROOM, room: 'home',
    composeMessage: (type, payload, target) => JSON.stringify([type, payload, target ?? null]),
    parseMessage: (text) => {
      const [type, payload, from] = JSON.parse(text);
      return { type, payload, from };
    },
  });
  Socket.last.open();
  Socket.last.hear(JSON.stringify(['info', { id: 'me', members: [] }]));
  const heard = [];
  channel.addEventListener('chat', (...values) => heard.push(values));
  Socket.last.hear(JSON.stringify(['chat', 'hi', 'you']));
  channel.send('chat', 'hello', 'you');
  assert.deepEqual(heard, [['hi', 'you']]);
  assert.deepEqual(Socket.last.sent, [['chat', 'hello', 'you']]);
});

test('what is no message, or pretends to be the server’s, is not heard', () => {
  const { gun, of } = newGun();
  const socket = Socket.last;
  socket.seat({ id: 'me' });
  for (const text of ['', '{', 'null', '[]', '7', '{"type":7}']) socket.hear(text);
  socket.hear({ type: 'info', info: { id: 'forged', members: [] }, from: 'somebody' });
  socket.hear({ type: 'error', error: { code: 'unauthorized' }, from: 'somebody' });
  assert.equal(gun.id, 'me');
  assert.equal(of('info').length, 1);
  assert.deepEqual(of('error'), []);
});

test('a listener that throws keeps nobody else from hearing', () => {
  const channel = newChannel();
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  const heard = [];
  const gone = () => heard.push('gone');
  channel.addEventListener('chat', () => { throw new Error('mine'); });
  channel.addEventListener('chat', gone);
  channel.addEventListener('chat', (text) => heard.push(text));
  channel.removeEventListener('chat', gone);
  channel.emit('chat', 'hi');
  assert.deepEqual([heard, reported], [['hi'], ['mine']]);
});

test('messages wait for the seat, the newest 64 of them; those now or never do not', () => {
  const channel = newChannel();
  for (let i = 0; i < 70; i++) assert.equal(channel.send('chat', i), false);
  assert.equal(channel.trySend('wave', {}), false);
  Socket.last.seat({ id: 'me' });
  assert.deepEqual(Socket.last.of('chat').map(({ chat }) => chat), Array.from({ length: 64 }, (_, i) => i + 6));
  assert.deepEqual(Socket.last.of('wave'), []);
});

test('a lost socket is opened again for the same seat, and the old one is let go first', () => {
  const { gun, of } = newGun();
  Socket.last.seat({ id: 'me', key: 'secret' });
  const before = Socket.last;
  before.lose();
  assert.equal(gun.state, 'waiting');
  clock.pass(390);
  assert.equal(Socket.all.length, 2);
  const after = Socket.last;
  assert.deepEqual([after.url.searchParams.get('id'), after.url.searchParams.get('key')], ['me', 'secret']);
  before.onmessage?.({ data: '{"type":"info","info":{"id":"late","members":[]}}' });
  assert.equal(gun.id, 'me', 'a socket let go is not heard any more');
  after.seat({ id: 'me' });
  assert.deepEqual(of('state').map(([state]) => state), ['open', 'waiting', 'connecting', 'open']);
});

test('a server that does not answer loses the socket, one that does keeps it', () => {
  newChannel();
  const socket = Socket.last;
  socket.seat({ id: 'me' });
  for (let i = 1; i <= 3; i++) {
    clock.pass(5_000);
    assert.deepEqual(socket.of('ping').map(({ ping }) => ping), Array.from({ length: i }, (_, n) => n + 1));
    socket.hear({ type: 'pong', pong: i });
  }
  clock.pass(8_999);
  assert.equal(socket.closedWith, undefined);
  clock.pass(1);
  assert.equal(socket.closedWith, 4000, 'to come back, and not to leave');
});

test('a server that opens the socket and seats nobody is left, and tried again', () => {
  newChannel();
  const socket = Socket.last;
  clock.pass(4_000);
  socket.open();
  clock.pass(999);
  assert.equal(socket.closedWith, undefined);
  clock.pass(1);
  assert.equal(socket.closedWith, 4000);
  clock.pass(clock.wait);
  assert.equal(Socket.all.length, 2);
  Socket.last.seat({ id: 'me' });
  for (let i = 1; i <= 2; i++) {
    clock.pass(5_000);
    Socket.last.hear({ type: 'pong', pong: i });
  }
  assert.equal(Socket.last.closedWith, undefined, 'who has a seat stays');
});

/** How long the channel waits before each of `times` sockets that all fail. */
function waits(times, refuse = false) {
  const channel = newChannel();
  const all = Array.from({ length: times }, () => {
    if (refuse) {
      Socket.last.open();
      Socket.last.hear({ type: 'error', error: { code: 'room_full' } });
    }
    Socket.last.lose();
    const { wait } = clock;
    clock.pass(wait);
    return wait;
  });
  channel.close();
  return all;
}

test('it knocks less and less often, to a cap; at a server that refused it more seldom still', () => {
  Math.random = () => 0.5;
  assert.deepEqual(waits(7).map(Math.round), [300, 600, 1200, 2400, 3000, 3000, 3000]);
  assert.deepEqual(waits(8, true).map(Math.round), [300, 600, 1200, 2400, 4800, 9600, 10_000, 10_000]);
});

test('a thousand screens do not knock in one instant', () => {
  for (const round of [0, 3]) {
    const knocks = Array.from({ length: 1_000 }, () => waits(round + 1).at(-1));
    const middle = 300 * 2 ** round;
    assert.ok(knocks.every((wait) => wait >= 0.7 * middle && wait <= 1.3 * middle), `around ${middle} ms`);
    // Of ten equal parts of that time each gets its share: 100 of 1000, give or take five standard deviations.
    const parts = Array.from({ length: 10 }, (_, part) =>
      knocks.filter((wait) => Math.min(9, Math.floor((wait / middle - 0.7) / 0.06)) === part).length);
    assert.ok(parts.every((count) => count > 50 && count < 150), `${parts}`);
  }
});

test('after a socket that was good the next is opened soon', () => {
  Math.random = () => 0.5;
  newChannel();
  for (let i = 0; i < 4; i++) {
    Socket.last.lose();
    clock.pass(2_400);
  }
  Socket.last.seat({ id: 'me' });
  for (let i = 1; i <= 2; i++) {
    clock.pass(5_000);
    Socket.last.hear({ type: 'pong', pong: i });
  }
  Socket.last.lose();
  assert.equal(Math.round(clock.wait), 300);
});

test('a gun keeps the connections whose session stands, makes anew those whose number changed, ends those who left', () => {
  const { gun, of } = newGun();
  const members = [
    { id: '!cam', polite: true, kind: 'camera', title: 'Cam', session: 1 }, { id: 'a', polite: true, session: 2 },
    { id: 'b', polite: false, session: 3 },
  ];
  Socket.last.seat({ id: 'me', key: 'k', members });
  const [cam, a, b] = ['!cam', 'a', 'b'].map((id) => gun.portals.get(id));
  assert.deepEqual(of('connection'), [[cam], [a], [b]]);
  assert.equal(cam.target.title, 'Cam');
  Socket.last.hear({ type: 'info', info: { id: 'me', members: [{ ...members[0], title: 'New' }, { ...members[1], session: 9 }] } });
  assert.equal(gun.portals.get('!cam'), cam, 'the same');
  assert.equal(cam.target.title, 'New');
  assert.equal(cam.isClosed, false);
  assert.notEqual(gun.portals.get('a'), a);
  assert.equal(a.isClosed, true);
  assert.deepEqual(of('connection').slice(3), [[gun.portals.get('a')]]);
  assert.deepEqual(of('disconnection'), [[b]]);
  assert.equal(gun.connections, gun.portals, 'by either name');

  // The seat was lost meanwhile: a restarted server counts from the start, so the same number means nothing.
  Socket.last.hear({ type: 'info', info: { id: 'me', key: 'another', members: [members[0]] } });
  assert.equal(cam.isClosed, true);
  gun.close();
  assert.equal(gun.portals.size, 0);
  assert.deepEqual(of('state').map(([state]) => state), ['open', 'closed']);
});

test('with a server that has no sessions every roster is built anew, as the library does', () => {
  const { gun, of } = newGun();
  const info = { id: 'me', members: [{ id: 'a', polite: true }] };
  Socket.last.seat(info);
  const before = gun.portals.get('a');
  Socket.last.hear({ type: 'info', info });
  assert.equal(before.isClosed, true);
  assert.equal(of('connection').length, 2);
  assert.deepEqual(of('disconnection'), [], 'it is still there');
});

test('a portal has its member, its connection, and sends a stream', () => {
  const { gun } = newGun({ rtc: { iceServers: [{ urls: 'stun:box.lan' }] } });
  Socket.last.seat({ id: 'me', members: [{ id: 'a', polite: true, session: 1 }] });
  const portal = gun.portals.get('a');
  assert.deepEqual(portal.peer.configuration, { iceServers: [{ urls: 'stun:box.lan' }] });
  const stream = { getTracks: () => ['sound', 'picture'] };
  portal.addMediaStream(stream);
  assert.deepEqual(portal.peer.tracks, [['sound', stream], ['picture', stream]]);
  const heard = [];
  portal.addEventListener('track', (event) => heard.push(event.track));
  const track = new EventTarget();
  portal.peer.dispatchEvent(Object.assign(new Event('track'), { track }));
  assert.deepEqual(heard, [track]);
});

test('errors of the server and of this browser are told by a code', () => {
  const { of } = newGun();
  Socket.last.open();
  Socket.last.hear({ type: 'error', error: { code: 'room_not_found', message: 'there is no room “home”' } });
  const [[error]] = of('error');
  assert.ok(error instanceof PortalError && error instanceof Error);
  assert.deepEqual([error.code, error.message], ['room_not_found', 'there is no room “home”']);
  globalThis.RTCPeerConnection = class { constructor() { throw new Error('switched off'); } };
  Socket.last.hear({ type: 'info', info: { id: 'me', members: [{ id: 'a', polite: true }] } });
  assert.equal(of('error')[1][0].code, 'rtc_refused');
});

test('the server gives the RTC configuration; without one none is used, and nothing that came first is lost', async () => {
  clock.stop();
  const advice = { iceServers: [{ urls: ['stun:192.0.2.1:3478'] }] };
  const asked = [];
  const server = http.createServer((request, response) => {
    asked.push(request.url);
    if (request.url.includes('token=no')) response.writeHead(401);
    response.end(JSON.stringify(advice));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const url = `ws://127.0.0.1:${server.address().port}/portal`;
  try {
    for (const [token, expected] of [['yes', advice], ['no', {}]]) {
      const { gun, of } = newGun({ url, rtc: undefined, token });
      Socket.last.seat({ id: 'me', members: [{ id: 'a', polite: true, session: 1 }] });
      while (of('connection').length === 0) await turn();
      assert.deepEqual(gun.portals.get('a').peer.configuration, expected);
      gun.close();
    }
    assert.deepEqual(asked, ['/api/rtc?token=yes', '/api/rtc?token=no']);
    const { gun, of } = newGun({ url, rtc: undefined });
    Socket.last.seat({ id: 'me', members: [{ id: 'a', polite: true, session: 1 }] });
    // Only then: what is ended before it has a connection is never asked.
    while (asked.length < 3) await turn();
    gun.close();
    for (let i = 0; i < 20; i++) await turn();
    assert.deepEqual(of('connection'), [], 'closed before the answer came');
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test('the RTC configuration is asked for from time to time, and a new connection has the newest', async () => {
  let given = 0;
  const real = globalThis.fetch;
  globalThis.fetch = async () => given === 3
    ? Promise.reject(new TypeError('the server is away'))
    : { ok: true, json: async () => ({ iceServers: [{ urls: 'turn:box.lan', username: 'x', credential: String(++given) }] }) };
  const settle = async () => { for (let i = 0; i < 20; i++) await turn(); };
  try {
    const { gun } = newGun({ rtc: undefined });
    await settle();
    const credential = (session) => {
      // A socket that nobody answered is let go, and after a pause there is another.
      while (Socket.last.readyState !== 0) clock.pass(500);
      Socket.last.seat({ id: 'me', members: [{ id: 'a', polite: true, session }] });
      return gun.portals.get('a').peer.configuration.iceServers[0].credential;
    };
    assert.equal(credential(1), '1');
    clock.pass(300_000);
    await settle();
    assert.equal(credential(2), '2');
    clock.pass(300_000);
    await settle();
    assert.equal(credential(3), '3');
    clock.pass(300_000);
    await settle();
    assert.equal(credential(4), '3', 'what was told last stands while there is no answer');
    gun.close();
    await settle();
    assert.equal(clock.timers.size, 0);
  } finally {
    globalThis.fetch = real;
  }
});

test('closing leaves for good: the seat is given up, nothing is heard, nothing comes back', () => {
  const { gun, of } = newGun();
  const socket = Socket.last;
  socket.seat({ id: 'me', members: [{ id: 'a', polite: true, session: 1 }] });
  gun.close();
  gun.close();
  assert.equal(socket.closedWith, 1000);
  assert.equal(clock.timers.size, 0);
  socket.hear({ type: 'info', info: { id: 'me', members: [{ id: 'b', polite: true, session: 2 }] } });
  socket.lose();
  gun.signaler.reconnect();
  clock.pass(60_000);
  assert.equal(Socket.all.length, 1);
  assert.equal(gun.portals.size, 0);
  assert.deepEqual(of('disconnection').length, 1);
  assert.equal(gun.state, 'closed');
});
