/**
 * Figures of one connection, from `RTCPeerConnection.getStats()` (W3C webrtc-stats).
 * @module
 */

/** @typedef {{ at: number, bytes: number, packets: number, lost: number, frames: number, delay: number, emitted: number }} Counts */

/**
 * What the connection did since it was last asked.
 * @typedef {{ width?: number, height?: number, fps?: number, kbps?: number, lost?: number, roundTrip?: number,
 *   buffer?: number, freezes?: number, codec?: string, decoder?: string }} Reading
 *   `kbps` kbit/s; `lost` percent of packets; `roundTrip` and `buffer` (how long pictures wait here) in ms
 */

export class Figures {
  /** @type {Counts | undefined} */
  #before;
  /** What came of the two looks before, for who reads the same twice. @type {Reading} */
  #rates = {};

  /**
   * @param {RTCStatsReport} report
   * @returns {Reading}
   */
  read(report) {
    const all = [...report.values()];
    const video = all.find((one) => one.type === 'inbound-rtp' && one.kind === 'video');
    const pair = all.find((one) => one.type === 'candidate-pair' && one.nominated && one.state === 'succeeded');
    const codec = report.get(video?.codecId);
    if (!video) return {};
    /** @type {Counts} */
    const now = {
      at: video.timestamp, bytes: video.bytesReceived, packets: video.packetsReceived, lost: video.packetsLost,
      frames: video.framesDecoded, delay: video.jitterBufferDelay, emitted: video.jitterBufferEmittedCount,
    };
    const before = this.#before;
    this.#before = now;
    if (before && before.at < now.at) this.#rates = between(before, now);
    return {
      width: video.frameWidth,
      height: video.frameHeight,
      freezes: video.freezeCount,
      codec: codec?.mimeType?.replace(/^video\//, ''),
      decoder: video.decoderImplementation,
      roundTrip: pair?.currentRoundTripTime === undefined ? undefined : pair.currentRoundTripTime * 1000,
      ...this.#rates,
    };
  }
}

/**
 * @param {Counts} before
 * @param {Counts} now
 */
function between(before, now) {
  const seconds = (now.at - before.at) / 1000;
  const lost = now.lost - before.lost;
  const sent = lost + now.packets - before.packets;
  const emitted = now.emitted - before.emitted;
  return {
    kbps: ((now.bytes - before.bytes) * 8) / 1000 / seconds,
    fps: (now.frames - before.frames) / seconds,
    lost: sent > 0 ? (100 * Math.max(lost, 0)) / sent : 0,
    buffer: emitted > 0 ? (1000 * (now.delay - before.delay)) / emitted : undefined,
  };
}
