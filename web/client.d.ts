/**
 * Types of `/client.js`, the portals client: one WebRTC connection, a "portal", with each member of a room.
 *
 * The API is that of the portals library (@openlab/portals 0.2.1) and works with any portals server; what is marked
 * "portald" is our addition, and does nothing against a server that does not know it.
 */

/** Events with plain arguments. A listener that throws is reported to the page and keeps nobody else from hearing. */
export interface Emitter<Events extends { [Type in keyof Events]: any[] }> {
  addEventListener<Type extends keyof Events>(type: Type, listener: (...values: Events[Type]) => void): void;
  removeEventListener<Type extends keyof Events>(type: Type, listener: (...values: Events[Type]) => void): void;
  emit<Type extends keyof Events>(type: Type, ...values: Events[Type]): void;
}

/** A member as the roster lists it. */
export interface Member {
  id: string;
  /** Whether we are to give way where two offers meet. */
  polite: boolean;
  /** portald. */
  kind?: 'camera' | 'peer';
  /** portald. */
  title?: string;
  /** portald: changes exactly when the two of us must connect anew. */
  session?: number;
}

/** Who we are and whom we see. */
export interface Info {
  id: string;
  members: Member[];
  /** portald: gives us our seat back after a lost socket. A secret. */
  key?: string;
}

/**
 * portald: `connecting`: a socket is being opened · `open`: seated in the room · `waiting`: until the next try ·
 * `closed`: for good.
 */
export type LinkState = 'connecting' | 'open' | 'waiting' | 'closed';

/** portald: what a camera says of itself. */
export interface CameraState {
  /** `absent`, `opening`, `idle`, `live`, `stalled`, `backoff` or `disabled`. */
  state: string;
  /** In words, where it needs saying. */
  reason?: string | null;
  /** Unix time in milliseconds. */
  since?: number;
}

/** A message format of your own, for a server that has one. */
export interface Format {
  composeMessage?: (type: string, payload: unknown, target?: string) => string;
  parseMessage?: (text: string) => { type: string; payload: any; from?: string };
}

/**
 * What the server said is wrong: `room_not_set`, `room_not_found`, `room_full`, `unauthorized`, `too_many_attempts`,
 * `bad_message`; or `rtc_refused`, this browser makes no connection.
 */
export class PortalError extends Error {
  constructor(code: string, message?: string);
  code: string;
}

export interface PortalEvents {
  track: [event: RTCTrackEvent];
  error: [error: Error];
  /** portald, of a camera. */
  state: [state: CameraState];
  /** portald. */
  close: [];
}

/** The connection with one member. Perfect negotiation: either side may add tracks at any time. */
export class Portal implements Emitter<PortalEvents> {
  private constructor();
  addEventListener<Type extends keyof PortalEvents>(type: Type, listener: (...values: PortalEvents[Type]) => void): void;
  removeEventListener<Type extends keyof PortalEvents>(type: Type, listener: (...values: PortalEvents[Type]) => void): void;
  emit<Type extends keyof PortalEvents>(type: Type, ...values: PortalEvents[Type]): void;
  /** The member at the other end. */
  readonly target: Member;
  readonly peer: RTCPeerConnection;
  /** Sends every track of `stream` to the member. */
  addMediaStream(stream: MediaStream): void;
  /** Ends the connection, at this end only. */
  close(): void;
  /** portald: tells this connection from every other one this page has had. */
  readonly serial: number;
  /** portald: what the camera at the other end last said of itself. */
  readonly state: CameraState | undefined;
  /** portald: whether a camera is at the other end. */
  readonly isCamera: boolean;
  readonly isClosed: boolean;
  /** portald: for how long (ms) it has been connected; 0 while it is not. */
  readonly connectedFor: number;
  /** portald: for how long (ms) no media has come; to be asked for at least every 3 s, for that is how it is measured. */
  readonly silence: number;
  /** portald: proves now whether the way to the server stands, for whoever sees something wrong. */
  check(): void;
  /** portald: what the browser counts of the connection; one look a second serves all who ask. */
  stats(): Promise<RTCStatsReport>;
  /**
   * portald: asks for a fresh connection in place of this one; a new portal follows by a `connection` event.
   * @returns milliseconds until it makes sense to ask again
   */
  renew(why: string): number;
}

/** The way to the server. Emits every message from the wire under its type: `(payload, from)`; use types of your own. */
export class SignalingChannel implements Emitter<Record<string, any[]>> {
  constructor(options: { url: string | URL; room: string } & Format);
  /** portald. */
  constructor(url: string | URL, options?: Format & { onState?: (state: LinkState, why?: string) => void; onWake?: () => void });
  addEventListener(type: string, listener: (...values: any[]) => void): void;
  removeEventListener(type: string, listener: (...values: any[]) => void): void;
  emit(type: string, ...values: any[]): void;
  /** Where the socket leads, without what gives us our seat back. */
  readonly url: URL;
  /**
   * Sends a message to the server, or through it to `target`; if there is no way now, as soon as we are seated again, or
   * never where 64 later ones wait too.
   * @returns whether it could be sent at once
   */
  send(type: string, payload?: unknown, target?: string): boolean;
  /** Sends a message now or not at all. */
  trySend(type: string, payload: unknown, target?: string): boolean;
  /** portald: proves now whether the socket is alive; one that is not is opened again. Every 3 s at most. */
  check(): void;
  /** portald: loses the socket as a network would, and comes back for the seat. */
  reconnect(): void;
  /** Leaves the room for good. */
  close(): void;
}

export interface PortalGunOptions extends Format {
  room: string;
  /** The server's portal; by default that of the server this module came from. */
  url?: string | URL;
  /** By default what that server advises. */
  rtc?: RTCConfiguration;
  /** portald: the room's password or token, if it needs one. */
  token?: string;
  /** portald: with whom to connect; by default with everyone. */
  accept?: (member: Member) => boolean;
}

export interface PortalGunEvents {
  /** For a member that had one it replaces it: show the new portal, forget the old one. */
  connection: [portal: Portal];
  disconnection: [portal: Portal];
  info: [info: Info];
  error: [error: PortalError];
  debug: [text: string];
  /** portald. */
  state: [state: LinkState, why?: string];
}

/** Keeps a portal with every member of a room. */
export class PortalGun implements Emitter<PortalGunEvents> {
  constructor(options: PortalGunOptions);
  addEventListener<Type extends keyof PortalGunEvents>(type: Type, listener: (...values: PortalGunEvents[Type]) => void): void;
  removeEventListener<Type extends keyof PortalGunEvents>(type: Type, listener: (...values: PortalGunEvents[Type]) => void): void;
  emit<Type extends keyof PortalGunEvents>(type: Type, ...values: PortalGunEvents[Type]): void;
  /** Our id in the room, once we know it. */
  readonly id: string | undefined;
  readonly state: LinkState;
  /** By member id. */
  readonly portals: Map<string, Portal>;
  /** As the portals library calls `portals`. */
  readonly connections: Map<string, Portal>;
  /** The way to the server, for messages of your own. */
  readonly signaler: SignalingChannel;
  /** portald: asks `accept` about everyone anew. */
  reconsider(): void;
  /** Ends every connection, leaves the room and never comes back. */
  close(): void;
}

/**
 * portald: how old a camera's pictures are when they are shown. To be told of each, in the callback of
 * `requestVideoFrameCallback`.
 */
export class Latency {
  /** @param read by default `receiver.getStats()`; `portal.stats()` shares what others have read */
  constructor(receiver: RTCRtpReceiver, read?: () => Promise<RTCStatsReport>);
  /** Milliseconds from capture to screen, as last measured; undefined where browser or camera do not tell. */
  readonly value: number | undefined;
  /** `now` as `performance.now()` counts. */
  shown(now: number, rtpTimestamp: number | undefined): void;
}

/** What is called often, done once when it has been quiet for `ms`. */
export function debounce(ms: number, act: () => void): () => void;
