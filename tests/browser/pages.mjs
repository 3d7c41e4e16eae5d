/** Pages and taps for tests of the client module: small servers that end with their test. */
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';

/**
 * Serves `texts`, by path, from another origin than the daemon's; a secure one, as a webcam needs.
 * @param {Record<string, string>} texts
 */
export async function serve(texts) {
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://x');
    if (!(pathname in texts)) return response.writeHead(404).end();
    response.setHeader('content-type', pathname.endsWith('.js') ? 'text/javascript' : 'text/html; charset=utf-8');
    response.end(texts[pathname]);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://localhost:${server.address().port}/`, close };
}

/** A way to the daemon that notes with which code each WebSocket was closed by its page (RFC 6455, 5.5.1). */
export class Tap {
  /** The code of each that has ended; undefined where it ended without one. @type {(number | undefined)[]} */
  codes = [];
  #server;
  #sockets = new Set();

  /** @param {number} port */
  static async to(port) {
    const tap = new Tap();
    tap.#server = net.createServer((near) => tap.#pass(near, net.connect(port, '127.0.0.1')));
    await once(tap.#server.listen(0, '127.0.0.1'), 'listening');
    tap.url = `http://127.0.0.1:${tap.#server.address().port}/`;
    return tap;
  }

  /**
   * @param {net.Socket} near
   * @param {net.Socket} far
   */
  #pass(near, far) {
    let head = '';
    let tail = Buffer.alloc(0);
    near.on('data', (bytes) => {
      if (head.length < 2_000) head += bytes.toString('latin1');
      tail = Buffer.concat([tail, bytes]).subarray(-8);
    });
    for (const [from, into] of [[near, far], [far, near]]) {
      this.#sockets.add(from);
      from.on('error', () => into.destroy());
      from.on('close', () => this.#sockets.delete(from) && into.destroy());
      from.pipe(into);
    }
    near.on('close', () => {
      if (!/upgrade: websocket/i.test(head)) return;
      // A masked close frame with two bytes, and nothing after it: 88 82, the mask, the code under the mask.
      const isClose = tail.length === 8 && tail[0] === 0x88 && tail[1] === 0x82;
      this.codes.push(isClose ? tail.readUInt16BE(6) ^ tail.readUInt16BE(2) : undefined);
    });
  }

  close() {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}

/**
 * Runs in the page, on all of a locator's videos: what each has shown. Firefox counts in no other way what comes over a stream.
 * @param {HTMLVideoElement[]} videos
 */
export function presentedBy(videos) {
  return Promise.all(videos.map((video) => new Promise((resolve) => {
    const tell = (/** @type {number} */ frames) => resolve({ title: video.title, width: video.videoWidth, frames });
    video.requestVideoFrameCallback((_, { presentedFrames }) => tell(presentedFrames));
    setTimeout(() => tell(0), 1_000);
  })));
}
