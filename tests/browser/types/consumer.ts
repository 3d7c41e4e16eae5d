/** A program built on the client module, as its compiler sees it: what is to be right, and what must not be. */
import { debounce, Latency, Portal, PortalError, PortalGun, SignalingChannel } from '../../../web/client.js';
import type { CameraState, Info, LinkState, Member, PortalGunOptions } from '../../../web/client.js';

const options: PortalGunOptions = { room: 'home', url: new URL('ws://box.lan:8080/portal'), rtc: { iceServers: [] } };
const gun = new PortalGun(options);
new PortalGun({ room: 'home' });
new PortalGun({ room: 'home', token: 'x', accept: ({ kind }) => kind === 'camera' });
new PortalGun({
  room: 'home', url: 'ws://box.lan/portal',
  composeMessage: (type, payload, target) => JSON.stringify([type, payload, target]),
  parseMessage: (text) => ({ type: JSON.parse(text)[0], payload: JSON.parse(text)[1], from: JSON.parse(text)[2] }),
});
// @ts-expect-error a room is needed
new PortalGun({ url: 'ws://box.lan/portal' });
// @ts-expect-error a room has a name
new PortalGun({ room: 7 });
// @ts-expect-error no such option
new PortalGun({ room: 'home', ice: {} });

gun.addEventListener('connection', (portal) => {
  const target: Member = portal.target;
  const peer: RTCPeerConnection = portal.peer;
  portal.addMediaStream(new MediaStream());
  portal.addEventListener('track', ({ track, streams }) => show(track, streams[0]));
  portal.addEventListener('error', ({ message }) => message.trim());
  portal.addEventListener('state', ({ state, reason, since }: CameraState) => [state.trim(), reason?.trim(), since]);
  portal.addEventListener('close', () => {});
  portal.stats().then((report) => report.get('x'));
  portal.close();
  const wait: number = portal.renew('it stands still');
  // @ts-expect-error the server says who it is
  portal.target = target;
  // @ts-expect-error a connection keeps its peer
  portal.peer = peer;
  // @ts-expect-error a misspelt event is never heard
  portal.addEventListener('tracks', () => {});
  // @ts-expect-error a track, and not its event, is no stream
  portal.addMediaStream(peer.getReceivers()[0].track);
  return [wait, portal.serial, portal.isCamera, portal.isClosed, portal.state?.state];
});
gun.addEventListener('disconnection', ({ target: { id } }) => id.trim());
gun.addEventListener('info', ({ id, members }: Info) => members.map((member) => member.id !== id && member.polite));
gun.addEventListener('error', ({ code, message }: PortalError) => `${code.trim()} ${message.trim()}`);
gun.addEventListener('debug', (text) => text.trim());
gun.addEventListener('state', (state: LinkState, why) => [state, why?.trim()]);
// @ts-expect-error a misspelt event is never heard
gun.addEventListener('conection', () => {});
// @ts-expect-error an info has members, not portals
gun.addEventListener('info', ({ portals }) => portals);
// @ts-expect-error there is no such state
gun.addEventListener('state', (state) => state === 'connected');
// @ts-expect-error only a gun makes portals
new Portal();

const listener = (text: string) => text.trim();
gun.addEventListener('debug', listener);
gun.removeEventListener('debug', listener);
gun.signaler.addEventListener('chat', (payload, from: string) => [payload.text, from]);
const sent: boolean = gun.signaler.send('chat', { text: 'hello' }, 'somebody') && gun.signaler.trySend('chat', 'hello');
// @ts-expect-error a type of message is text
gun.signaler.send(7, {});
// @ts-expect-error the room follows from the options
gun.room = 'other';
for (const [id, portal] of gun.portals) id.trim() && portal.close();
for (const portal of gun.connections.values()) portal.renew('the same');
gun.reconsider();
gun.close();

const alone = new SignalingChannel({ url: 'ws://box.lan/portal', room: 'home' });
new SignalingChannel(new URL('ws://box.lan/portal?room=home'), { onState: (state: LinkState) => state });
// @ts-expect-error apart from each other, both are needed
new SignalingChannel({ url: 'ws://box.lan/portal' });
alone.reconnect();
alone.close();

const latency = new Latency(new RTCPeerConnection().getReceivers()[0]);
latency.shown(performance.now(), undefined);
const age: number | undefined = latency.value;
// @ts-expect-error it is measured
latency.value = 7;

const soon: () => void = debounce(100, () => {});
// @ts-expect-error first how long, then what
debounce(() => {}, 100);

function show(track: MediaStreamTrack, stream: MediaStream) {
  soon();
  return [track.kind, stream.id, sent, age];
}
