/**
 * The identity strip that portald's test cameras paint into their pictures: 32 blocks of 16×16 pixels from the top
 * left corner of the main rendition, black for 0 and white for 1, the most significant bit first.
 *
 * | bits | what |
 * |---|---|
 * | 0–7 | CRC-8 (polynomial 0x07) of the camera's name |
 * | 8–15 | a frame counter, modulo 256 |
 * | 16–31 | when the frame was captured: Unix time in milliseconds, modulo 65536 |
 */

/** @typedef {{ identity: number, counter: number, stamp: number }} Strip */

/**
 * CRC-8 with polynomial 0x07, nothing reflected, starting at 0.
 * @param {string} name
 */
export function crc8(name) {
  let crc = 0;
  for (const byte of new TextEncoder().encode(name)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x80 ? (crc << 1) ^ 0x07 : crc << 1) & 0xff;
  }
  return crc;
}

/**
 * @param {number[]} luma of the 32 blocks, 0–255
 * @returns {Strip}
 */
export function decodeStrip(luma) {
  const number = (from, to) => luma.slice(from, to).reduce((value, grey) => value * 2 + (grey >= 128 ? 1 : 0), 0);
  return { identity: number(0, 8), counter: number(8, 16), stamp: number(16, 32) };
}

/**
 * How old the frame was at `unixMs`.
 * @param {Strip} strip
 * @param {number} unixMs
 * @returns {number} milliseconds, modulo 65536
 */
export function age(strip, unixMs) {
  return (((unixMs - strip.stamp) % 65536) + 65536) % 65536;
}

/**
 * Runs in the page, so it may use nothing but what it is given: looks at the middle of each block of the picture that
 * `video` shows now.
 * @param {HTMLVideoElement} video
 * @param {number} mainWidth width of the main rendition; the picture may be a smaller one
 * @returns {{ luma: number[], width: number, height: number, at: number }} `at` in Unix milliseconds
 */
export function readLuma(video, mainWidth) {
  const { videoWidth: width, videoHeight: height } = video;
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = Math.max(1, Math.ceil((16 * width) / mainWidth));
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(video, 0, 0);
  const at = Date.now();
  const block = (16 * width) / mainWidth;
  const luma = Array.from({ length: 32 }, (_, index) => {
    // Three by three pixels in the middle: one alone could be an artefact of the codec.
    const { data } = context.getImageData(Math.floor((index + 0.5) * block) - 1, Math.floor(block / 2) - 1, 3, 3);
    let sum = 0;
    for (let i = 0; i < data.length; i += 4) sum += 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2];
    return sum / 9;
  });
  return { luma, width, height, at };
}
