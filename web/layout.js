/**
 * The best-fitting grid. Pure: numbers in, numbers out.
 * @module
 */

/** Below this width (CSS pixels) one cannot tell what a tile shows: better to scroll. */
const SMALLEST_TILE = 150;
/** On a wide stage a row more is worth it only if it makes tiles so much larger: side by side uses the width. */
const WORTH_A_ROW = 1.06;

/**
 * A grid of equal tiles; lengths in CSS pixels.
 * @typedef {{ columns: number, tileWidth: number, tileHeight: number, scrolls: boolean }} Grid
 */

/**
 * The grid that gives `count` tiles of the shape `aspect` about the most area within `width` × `height`.
 * @param {number} count at least 1
 * @param {number} width
 * @param {number} height
 * @param {number} aspect width over height of a tile
 * @param {number} gap between tiles
 * @param {number} [smallest] width of a tile; where all would be smaller the grid scrolls
 * @returns {Grid}
 */
export function bestGrid(count, width, height, aspect, gap, smallest = SMALLEST_TILE) {
  let best = fit(1, count, width, height, aspect, gap);
  for (let columns = 2; columns <= count; columns++) {
    const grid = fit(columns, count, width, height, aspect, gap);
    if (grid.tileWidth * (width > height ? WORTH_A_ROW : 1) > best.tileWidth) best = grid;
  }
  return best.tileWidth >= Math.min(smallest, width) ? best : scrolling(count, width, aspect, gap);
}

/**
 * Where the tile `index` starts when every tile spans two columns of the CSS grid: an incomplete last row is centred.
 * @param {number} index from 0
 * @param {number} count
 * @param {number} columns of tiles
 * @returns {number | undefined} a CSS grid line, or undefined for "after the one before"
 */
export function gridLine(index, count, columns) {
  const last = count % columns;
  const startsLastRow = last !== 0 && index === count - last;
  return startsLastRow ? columns - last + 1 : undefined;
}

/**
 * The aspect that suits most: the middle one, so that one odd camera does not make all others small.
 * @param {number[]} aspects
 */
export function commonAspect(aspects) {
  const sorted = [...aspects].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? 16 / 9;
}

/**
 * @param {number} columns
 * @param {number} count
 * @param {number} width
 * @param {number} height
 * @param {number} aspect
 * @param {number} gap
 * @returns {Grid}
 */
function fit(columns, count, width, height, aspect, gap) {
  const rows = Math.ceil(count / columns);
  const cellWidth = (width - (columns - 1) * gap) / columns;
  const cellHeight = (height - (rows - 1) * gap) / rows;
  const tileWidth = Math.max(0, Math.min(cellWidth, cellHeight * aspect));
  return { columns, tileWidth, tileHeight: tileWidth / aspect, scrolls: false };
}

/**
 * @param {number} count
 * @param {number} width
 * @param {number} aspect
 * @param {number} gap
 * @returns {Grid}
 */
function scrolling(count, width, aspect, gap) {
  const columns = Math.max(1, Math.min(count, Math.floor((width + gap) / (SMALLEST_TILE + gap))));
  const tileWidth = (width - (columns - 1) * gap) / columns;
  return { columns, tileWidth, tileHeight: tileWidth / aspect, scrolls: true };
}
