/**
 * How the pictures of a connection ran, as the browser counts it.
 * @module
 */

/**
 * What a camera is told, of the whole connection: frames decoded, and dropped after they came; times the picture stood
 * still, and for how many seconds. A browser that does not count one leaves it out.
 * @typedef {{ decoded?: number, dropped?: number, freezes?: number, frozen?: number }} Playback
 */

/**
 * @param {Iterable<[string, any]>} stats what `RTCPeerConnection.getStats()` gives
 * @returns {Playback | undefined} undefined while no picture has come
 */
export function playback(stats) {
  for (const [, { type, kind, framesDecoded, framesDropped, freezeCount, totalFreezesDuration }] of stats) {
    if (type !== 'inbound-rtp' || kind !== 'video' || !framesDecoded) continue;
    const seconds = totalFreezesDuration;
    const frozen = seconds === undefined ? seconds : Math.round(seconds * 1000) / 1000;
    return { decoded: framesDecoded, dropped: framesDropped, freezes: freezeCount, frozen };
  }
  return undefined;
}
