/**
 * A client that behaves as the portals library 0.2.1 does, for pages written for it: no sessions, every connection built
 * anew on every `info`, a second socket 2 s after a loss. Our own code, from ../../docs of the wire; only for tests.
 */

class Emitter {
  #listeners = new Map();

  addEventListener(type, listener) {
    this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
  }

  emit(type, ...values) {
    for (const listener of this.#listeners.get(type) ?? []) listener(...values);
  }
}

class SignalingChannel extends Emitter {
  #pings = 0;

  constructor(url) {
    super();
    this.url = new URL(url);
    this.#connect();
  }

  send(type, payload, target) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type, [type]: payload, target }));
  }

  #connect() {
    const socket = new WebSocket(this.url);
    this.socket = socket;
    let pinging;
    let answered = true;
    socket.onopen = () => {
      pinging = setInterval(() => {
        answered = false;
        this.send('ping', ++this.#pings);
        // As the library does: another socket, and this one is not closed.
        setTimeout(() => answered || setTimeout(() => this.#connect(), 2_000), 5_000);
      }, 10_000);
    };
    socket.onmessage = ({ data }) => {
      const { type, [type]: payload, from } = JSON.parse(data);
      if (type === 'pong') answered = true;
      if (type === 'info') this.url.searchParams.set('id', payload.id);
      this.emit(type, payload, from);
    };
    socket.onclose = () => {
      clearInterval(pinging);
      setTimeout(() => this.#connect(), 2_000);
    };
  }
}

export class Portal extends Emitter {
  #makingOffer = false;
  #ignoringOffer = false;

  constructor(target, rtc, signaler) {
    super();
    this.target = target;
    this.signaler = signaler;
    this.peer = new RTCPeerConnection(rtc);
    this.peer.onnegotiationneeded = async () => {
      try {
        this.#makingOffer = true;
        await this.peer.setLocalDescription();
        signaler.send('description', this.peer.localDescription, target.id);
      } catch (error) {
        this.emit('error', error);
      } finally {
        this.#makingOffer = false;
      }
    };
    this.peer.onicecandidate = ({ candidate }) => signaler.send('candidate', candidate, target.id);
    this.peer.oniceconnectionstatechange = () => {
      if (this.peer.iceConnectionState === 'failed') this.peer.restartIce();
    };
  }

  addMediaStream(stream) {
    for (const track of stream.getTracks()) this.peer.addTrack(track, stream);
  }

  async onDescription(description) {
    try {
      const collision = description.type === 'offer' && (this.#makingOffer || this.peer.signalingState !== 'stable');
      this.#ignoringOffer = !this.target.polite && collision;
      if (this.#ignoringOffer) return;
      await this.peer.setRemoteDescription(description);
      if (description.type !== 'offer') return;
      await this.peer.setLocalDescription();
      this.signaler.send('description', this.peer.localDescription, this.target.id);
    } catch (error) {
      this.emit('error', error);
    }
  }

  async onCandidate(candidate) {
    try {
      await this.peer.addIceCandidate(candidate);
    } catch (error) {
      if (!this.#ignoringOffer) this.emit('error', error);
    }
  }
}

export class PortalGun extends Emitter {
  portals = new Map();

  constructor({ room, url, rtc }) {
    super();
    const address = new URL(url);
    address.searchParams.set('room', room);
    this.signaler = new SignalingChannel(address);
    this.signaler.addEventListener('info', (info) => {
      this.#onInfo(info, rtc);
      this.emit('info', info);
    });
    this.signaler.addEventListener('error', (error) => this.emit('error', error));
    this.signaler.addEventListener('description', (payload, from) => this.portals.get(from)?.onDescription(payload));
    this.signaler.addEventListener('candidate', (payload, from) => this.portals.get(from)?.onCandidate(payload));
  }

  #onInfo(info, rtc) {
    const listed = new Set(info.members.map((member) => member.id));
    for (const [id, portal] of this.portals) {
      portal.peer.close();
      this.portals.delete(id);
      if (!listed.has(id)) this.emit('disconnection', portal);
    }
    for (const member of info.members) {
      const portal = new Portal(member, rtc, this.signaler);
      this.portals.set(member.id, portal);
      this.emit('connection', portal);
    }
  }
}
