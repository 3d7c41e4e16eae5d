/**
 * A page as users of the portals library write it, served from elsewhere than the daemon.
 *
 * `?server=` the daemon, `?room=`, `?client=portald|stock` whose client module, `?publish` shows the webcam to everyone.
 * Tests look at `window.member`: the gun, and by member id what is seen of it.
 */
const wanted = new URLSearchParams(location.search);
const server = new URL(wanted.get('server'));
const stock = wanted.get('client') === 'stock';
const { PortalGun } = await import(stock ? '/stock-client.js' : new URL('client.js', server));

const stream = wanted.has('publish') ? await navigator.mediaDevices.getUserMedia({ video: true }) : undefined;
const url = new URL('portal', server);
url.protocol = 'ws';

const gun = new PortalGun({ room: wanted.get('room'), url, ...(stock && { rtc: {} }) });
/** What is seen of each member: its video, its portal, pictures shown over this portal, connections so far. */
const seen = new Map();
const errors = [];
const infos = [];
const debug = [];
window.member = { gun, seen, errors, infos, debug, stream };

gun.addEventListener('info', (info) => infos.push(info));
gun.addEventListener('debug', (text) => debug.push(text));
gun.addEventListener('error', (error) => errors.push(String(error.code ?? error)));

gun.addEventListener('connection', (portal) => {
  const view = seen.get(portal.target.id) ?? { video: newVideo(), connections: 0 };
  seen.set(portal.target.id, Object.assign(view, { portal, frames: 0, connections: view.connections + 1 }));
  if (stream) portal.addMediaStream(stream);
  portal.addEventListener('error', (error) => errors.push(String(error)));
  portal.peer.addEventListener('track', ({ track }) => {
    track.onunmute = () => {
      view.video.srcObject = new MediaStream([track]);
    };
  });
});

gun.addEventListener('disconnection', ({ target }) => {
  seen.get(target.id)?.video.remove();
  seen.delete(target.id);
});

function newVideo() {
  const video = Object.assign(document.createElement('video'), { muted: true, autoplay: true, playsInline: true });
  document.body.append(video);
  const count = () => {
    const view = [...seen.values()].find((one) => one.video === video);
    // A picture of the connection before this one does not count.
    if (view && view.portal.peer.getReceivers().some(({ track }) => video.srcObject?.getTracks().includes(track))) view.frames++;
    video.requestVideoFrameCallback(count);
  };
  video.requestVideoFrameCallback(count);
  return video;
}
