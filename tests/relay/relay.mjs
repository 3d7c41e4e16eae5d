/**
 * A portals server as the library's Node.js server 0.2.1 behaves, faults included, to try clients and cameras against
 * and to measure beside. Our own code, from what that server was seen to do.
 *
 *     node tests/relay/relay.mjs --port 0 --rooms home,talk      prints: listening on PORT
 *
 * The faults are the point:
 * - any client gets any id it asks for, and a newer socket replaces an older one of the same id without a word to it;
 * - when that older socket closes, the newer member is deleted from the room, and its socket stays open;
 * - every join and leave sends an `info` to every member of the room, without session numbers: a stock client rebuilds all;
 * - a missing or unknown room is an error, and the socket stays open and is ignored;
 * - every type is relayed to its target, `info` and `error` too, whoever sends it;
 * - nothing is limited, and nobody is pinged.
 */
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { parseArgs } from 'node:util';
import { WebSocketServer } from 'ws';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    host: { type: 'string', default: '127.0.0.1' },
    path: { type: 'string', default: '/portal' },
    rooms: { type: 'string', default: 'home' },
  },
});

/** By name: the members by id. @type {Map<string, Map<string, Connection>>} */
const rooms = new Map(values.rooms.split(',').map((name) => [name, new Map()]));

/** @typedef {{ id: string, room: string | null, send(type: string, payload: unknown, from?: string): void }} Connection */

const server = http.createServer((_, response) => response.writeHead(404).end('a portals relay\n'));
const sockets = new WebSocketServer({ server, path: values.path });

sockets.on('connection', (socket, request) => {
  const query = new URL(request.url ?? '/', 'http://relay').searchParams;
  const connection = {
    id: query.get('id') ?? randomUUID(),
    room: query.get('room'),
    send: (type, payload, from) => socket.send(JSON.stringify({ type, [type]: payload, from })),
  };
  join(connection);
  socket.on('message', (data) => {
    let message;
    try {
      message = JSON.parse(String(data));
    } catch {
      return;
    }
    hear(connection, message ?? {});
  });
  socket.on('close', () => leave(connection));
  socket.on('error', () => {});
});

server.listen(Number(values.port), values.host, () => console.log(`listening on ${server.address().port}`));

/** @param {Connection} connection */
function join(connection) {
  if (!connection.room) return connection.send('error', { code: 'room_not_set' });
  const room = rooms.get(connection.room);
  if (!room) return connection.send('error', { code: 'room_not_found' });
  room.set(connection.id, connection);
  tell(room);
}

/**
 * @param {Connection} connection
 * @param {{ type?: string, target?: string }} message
 */
function hear(connection, { type, target, ...fields }) {
  const room = rooms.get(connection.room ?? '');
  if (!room || typeof type !== 'string') return;
  if (type === 'ping') return connection.send('pong', fields.ping);
  if (target) room.get(target)?.send(type, fields[type], connection.id);
}

/** @param {Connection} connection */
function leave(connection) {
  const room = rooms.get(connection.room ?? '');
  if (!room) return;
  // By id, whoever has it now: the fault that deletes a newer member.
  room.delete(connection.id);
  tell(room);
}

/** @param {Map<string, Connection>} room */
function tell(room) {
  for (const { id, send } of room.values()) {
    const others = [...room.keys()].filter((other) => other !== id);
    // As strings, in the order of UTF-16 code units.
    send('info', { id, members: others.map((other) => ({ id: other, polite: id > other })) });
  }
}
