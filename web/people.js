/**
 * People beside the cameras: a tile for whoever shows something, under the name that they give themselves.
 * @module
 */

/** Longest name (characters) that fits a tile; what others send is not trusted to be short. */
const NAME = 40;
/** Names that are kept: more people than any room has. */
const MOST = 1_000;

/** @typedef {import('./client.js').PortalGun} PortalGun */
/** @typedef {import('./client.js').Portal} Portal */
/** @typedef {import('./tile.js').Tile} Tile */

/**
 * @param {PortalGun} gun
 * @param {Map<string, Tile>} tiles by member id
 * @param {{ tileOf: (member: { id: string, title?: string }) => Tile, remove: (tile: Tile) => void }} wall
 */
export function followPeople(gun, tiles, wall) {
  /**
   * What those who are here call themselves, by member id. A name comes as soon as somebody joins, perhaps before there is a
   * connection: the configuration for it may still be asked for.
   * @type {Map<string, string>}
   */
  const names = new Map();
  const nameOf = (/** @type {Portal} */ { target: { id, title } }) => names.get(id) || title || 'Guest';
  gun.addEventListener('connection', (portal) => {
    if (portal.isCamera) return;
    const { id } = portal.target;
    // They have a tile once there is something to show.
    portal.addEventListener('track', ({ streams }) => {
      const tile = wall.tileOf({ id, title: nameOf(portal) });
      if (tile.portal !== portal) tile.attach(portal);
      for (const stream of streams) {
        stream.addEventListener('removetrack', () => {
          if (tile.portal === portal && stream.getVideoTracks().length === 0) wall.remove(tile);
        });
      }
    });
  });
  gun.addEventListener('disconnection', ({ isCamera, target: { id } }) => {
    const tile = tiles.get(id);
    if (tile && !isCamera) wall.remove(tile);
    names.delete(id);
  });
  gun.signaler.addEventListener('name', (name, from) => {
    // The oldest is of somebody who left without ever having had a connection.
    if (!names.has(from) && names.size >= MOST) names.delete([...names.keys()][0]);
    names.set(from, cut(name));
    const [portal, tile] = [gun.portals.get(from), tiles.get(from)];
    if (tile && portal && !portal.isCamera) tile.title = nameOf(portal);
  });
}

/**
 * A name as others get to see it.
 * @param {unknown} name
 */
export function cut(name) {
  return typeof name === 'string' ? [...name.trim()].slice(0, NAME).join('') : '';
}
