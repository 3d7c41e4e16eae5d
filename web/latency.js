/**
 * How old a camera's picture is when it is shown: from its capture, which the camera writes into its packets.
 *
 * Camera and page may be on machines whose clocks differ. The camera's reports (RTCP) say what its clock showed when they
 * were sent, so the difference is known but for the time they were on their way, which is half of the round trip.
 * @module
 */

/** Captures are told in NTP's milliseconds since 1900, the rest of the web counts since 1970. */
const NTP_TO_UNIX = 2_208_988_800_000;
/** How often it is measured (ms); each costs a look into the connection. */
const INTERVAL = 1_000;
/** How often the clocks are compared (ms): they run apart slowly, and the camera reports every few seconds. */
const COMPARE = 5_000;

/**
 * Measures what comes over one receiver.
 *
 *     const latency = new Latency(receiver);
 *     const shown = (now, { rtpTimestamp }) => {
 *       latency.shown(now, rtpTimestamp);
 *       video.requestVideoFrameCallback(shown);
 *     };
 *     video.requestVideoFrameCallback(shown);
 */
export class Latency {
  #receiver;
  #read;
  #measuredAt = -INTERVAL;
  #comparedAt = -COMPARE;
  /** How far our clock is ahead of the camera's (ms). @type {number | undefined} */
  #ahead;

  /**
   * @param {RTCRtpReceiver} receiver
   * @param {() => Promise<RTCStatsReport>} [read] where the statistics are shared with others: what gives them
   */
  constructor(receiver, read = () => receiver.getStats()) {
    this.#receiver = receiver;
    this.#read = read;
    /** Milliseconds from capture to screen, as last measured; undefined where browser or camera do not tell. @type {number | undefined} */
    this.value = undefined;
  }

  /**
   * To be told in the callback of each picture that is shown.
   * @param {number} now performance.now()
   * @param {number | undefined} rtpTimestamp of the picture
   */
  shown(now, rtpTimestamp) {
    if (now - this.#comparedAt >= (this.#ahead === undefined ? INTERVAL : COMPARE)) {
      this.#comparedAt = now;
      this.#compare().catch(() => {}); // The connection was closed meanwhile.
    }
    if (this.#ahead === undefined || now - this.#measuredAt < INTERVAL) return;
    /** @type {any[]} not yet in TypeScript's own description of the web */
    const sources = this.#receiver.getSynchronizationSources();
    // A later picture may have come already.
    const source = sources.find((one) => one.rtpTimestamp === rtpTimestamp && one.captureTimestamp);
    if (!source) return;
    this.#measuredAt = now;
    const captured = source.captureTimestamp - NTP_TO_UNIX;
    this.value = performance.timeOrigin + performance.now() - this.#ahead - captured;
  }

  async #compare() {
    let report, way = 0;
    for (const stats of (await this.#read()).values()) {
      if (stats.type === 'remote-outbound-rtp' && stats.remoteTimestamp) report = stats;
      if (stats.type === 'candidate-pair' && stats.nominated) way = (stats.currentRoundTripTime ?? 0) * 500;
    }
    if (report) this.#ahead = report.timestamp - way - report.remoteTimestamp;
  }
}
