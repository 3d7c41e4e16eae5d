/** What is wrong with how a page looks, in words: by structure and computed style, never by pixels. */
import { ENGINE } from './engines.mjs';

/** The smallest text (CSS pixels) that can be read on a phone, and on a screen as high as a large television. */
const SMALLEST_TEXT = [[0, 11], [2_000, 18]];
/** WCAG 2.2, 1.4.3: of a text's colour to what is behind it. */
const SMALLEST_CONTRAST = 4.5;
/** WCAG 2.2, 2.5.8: what is to be tapped is at least as large (CSS pixels). */
const SMALLEST_TARGET = 24;

/**
 * Tiles that overlap or stick out, texts that are cut short without a way to read them, texts and buttons one upon
 * another, what is too small, and pages that scroll sideways.
 * @param {import('playwright-core').Page} page
 * @returns {Promise<string[]>}
 */
export function flawsOf(page) {
  return page.evaluate(find, { smallestText: SMALLEST_TEXT, smallestTarget: SMALLEST_TARGET, smallestContrast: SMALLEST_CONTRAST });
}

/**
 * What shows no ring, or only part of one, when the keyboard has come to it.
 * @param {import('playwright-core').Page} page
 * @returns {Promise<string[]>}
 */
export async function ringFlawsOf(page) {
  // From here on Chromium takes focus for the keyboard's. Firefox is told, and from the last button would go to its own.
  if (ENGINE === 'chromium') await page.keyboard.press('Tab');
  return page.evaluate(() => {
    const flaws = [];
    const shown = [...document.querySelectorAll('a[href], button, input, [tabindex="0"]')].filter((one) =>
      one.checkVisibility({ visibilityProperty: true }) && one.type !== 'hidden');
    for (const element of shown) {
      element.focus({ preventScroll: true, focusVisible: true });
      const { outlineStyle, outlineWidth, outlineOffset } = getComputedStyle(element);
      const name = element.ariaLabel || element.textContent.trim() || element.className;
      if (outlineStyle === 'none' || parseFloat(outlineWidth) < 2) flaws.push(`no ring about “${name}”`);
      const sticksOut = parseFloat(outlineOffset) + parseFloat(outlineWidth);
      const box = element.getBoundingClientRect();
      for (let around = element.parentElement; around; around = around.parentElement) {
        const { overflowX, overflowY, position } = getComputedStyle(around);
        const edge = around.getBoundingClientRect();
        const cutX = overflowX !== 'visible' && (box.left - sticksOut < edge.left - 0.5 || box.right + sticksOut > edge.right + 0.5);
        const cutY = overflowY !== 'visible' && (box.top - sticksOut < edge.top - 0.5 || box.bottom + sticksOut > edge.bottom + 0.5);
        // What lies outside of a scroller's window is scrolled to.
        const isIn = box.left >= edge.left && box.right <= edge.right && box.top >= edge.top && box.bottom <= edge.bottom;
        if (isIn && (cutX || cutY)) flaws.push(`the ring about “${name}” is cut off by ${around.id || around.className}`);
        if (position === 'fixed') break;
      }
    }
    return flaws;
  });
}

/** Runs in the page. */
function find({ smallestText, smallestTarget, smallestContrast }) {
  const flaws = [];
  const root = document.documentElement;
  const smallest = smallestText.filter(([height]) => innerHeight >= height).at(-1)[1];
  const isShown = (element) => !element.closest('.unseen, noscript') && element.checkVisibility({ visibilityProperty: true });
  const short = (text) => (text.length > 40 ? `${text.slice(0, 40)}…` : text);
  const nameOf = (element) => `${element.className || element.id || element.localName} “${short(element.textContent.trim() || element.ariaLabel || '')}”`;
  const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  const boxOfText = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    return range.getBoundingClientRect();
  };

  const colour = (text) => /^rgba?\((\d+), (\d+), (\d+)(?:, ([\d.]+))?\)$/.exec(text)?.slice(1).map((part) => Number(part ?? 1));
  const luminance = (rgb) => rgb.slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  /** Of a text to the plain surface behind it; nothing where there is a picture, or half a colour, in between. */
  const contrastOf = (element) => {
    const text = colour(getComputedStyle(element).color);
    for (let around = element; around; around = around.parentElement) {
      const { backgroundColor, backgroundImage } = getComputedStyle(around);
      const ground = colour(backgroundColor);
      if (!ground || backgroundImage !== 'none' || (ground[3] > 0 && ground[3] < 1)) return undefined;
      if (ground[3] === 1 && !around.classList.contains('tile')) {
        const [dark, light] = [luminance(text), luminance(ground)].sort((a, b) => a - b);
        return (light + 0.05) / (dark + 0.05);
      }
      // A picture is behind what lies on a tile's own colour, if it has one.
      if (around.classList.contains('tile')) return undefined;
    }
    return undefined;
  };

  if (root.scrollWidth > innerWidth || document.body.scrollWidth > innerWidth) flaws.push('the page is wider than the screen');

  // Tiles.
  const grid = document.getElementById('grid');
  const tiles = [...document.querySelectorAll('.tile')].filter(isShown);
  const boxes = tiles.map((tile) => tile.getBoundingClientRect());
  const scrolls = grid?.classList.contains('scrolls') && !document.querySelector('.tile.large');
  if (scrolls && grid.scrollWidth > grid.clientWidth) flaws.push('the grid scrolls sideways');
  if (scrolls && root.classList.contains('kiosk')) flaws.push('a screen that nobody looks after has to be scrolled');
  tiles.forEach((tile, index) => {
    const box = boxes[index];
    const title = tile.querySelector('.title').textContent;
    const below = !scrolls && box.bottom > innerHeight + 0.5;
    if (box.left < -0.5 || box.right > innerWidth + 0.5 || box.top < -0.5 && !scrolls || below) flaws.push(`tile ${title} sticks out of the window`);
    if (box.width < 40 || box.height < 22) flaws.push(`tile ${title} is too small to show anything`);
    boxes.slice(index + 1).forEach((other, later) => {
      if (meet(box, other)) flaws.push(`tile ${title} overlaps ${tiles[index + 1 + later].querySelector('.title').textContent}`);
    });
    const headline = tile.querySelector('.headline');
    if (!['live', 'stills'].includes(tile.dataset.phase) && !(headline.textContent && isShown(headline))) flaws.push(`tile ${title} shows no picture and does not say why`);
    const alpha = /^rgba\(.*, ([\d.]+)\)$/.exec(getComputedStyle(tile.querySelector('.veil')).backgroundColor)?.[1] ?? '1';
    if (tile.hasAttribute('data-slate') && Number(alpha) < 1) flaws.push(`tile ${title} shows the slate's text behind its own`);

    // What lies in it side by side.
    const parts = ['.headline', '.reason', '.seen', '.title', '.badge'].map((part) => tile.querySelector(part))
      .filter((part) => part?.textContent && isShown(part))
      .map((part) => [part.className, part.getBoundingClientRect(), boxOfText(part)])
      // Lines that are clamped away are still there for a range.
      .map(([name, own, text]) => [name, { left: Math.max(own.left, text.left), right: Math.min(own.right, text.right), top: own.top, bottom: own.bottom }]);
    const buttons = ['.more', '.close'].map((part) => tile.querySelector(part))
      .filter((part) => isShown(part) && Number(getComputedStyle(part).opacity) > 0.1)
      .map((part) => [part.className, part.getBoundingClientRect()]);
    const figures = tile.querySelector('.statistics');
    const all = figures ? buttons : [...parts, ...buttons];
    all.forEach(([name, a], one) => all.slice(one + 1).forEach(([other, b]) => {
      if (meet(a, b)) flaws.push(`in tile ${title} ${name} lies upon ${other}`);
    }));
  });

  // Texts.
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || ['STYLE', 'SCRIPT', 'TEMPLATE'].includes(element.tagName) || !isShown(element)) continue;
    const size = parseFloat(getComputedStyle(element).fontSize);
    if (size < smallest) flaws.push(`${nameOf(element)} is written in ${size} px`);
    const contrast = contrastOf(element);
    if (contrast < smallestContrast) flaws.push(`${nameOf(element)} is hard to read: contrast ${contrast.toFixed(1)}`);
    const box = boxOfText(node);
    let [x, y] = [true, true];
    for (let around = element; around && (x || y); around = around.parentElement) {
      const style = getComputedStyle(around);
      const edge = around === document.body ? { left: 0, top: 0, right: innerWidth, bottom: innerHeight } : around.getBoundingClientRect();
      // Letters may reach over their line's box a little.
      const outX = box.left < edge.left - 1 || box.right > edge.right + 1;
      const outY = box.top < edge.top - 2 || box.bottom > edge.bottom + 2;
      const isCut = (x && outX && /hidden|clip/.test(style.overflowX)) || (y && outY && /hidden|clip/.test(style.overflowY));
      if (isCut) {
        const isShortened = around === element && (style.textOverflow === 'ellipsis' || style.webkitLineClamp !== 'none');
        const tile = element.closest('.tile');
        tile?.dispatchEvent(new PointerEvent('pointerenter'));
        const told = tile ? tile.querySelector('.open').title : element.closest('[title]')?.title ?? '';
        if (!isShortened) flaws.push(`${nameOf(element)} is cut off`);
        else if (!told.includes(element.textContent)) flaws.push(`${nameOf(element)} is shortened, and nothing tells the rest`);
        break;
      }
      if (/auto|scroll/.test(style.overflowX)) x = false;
      if (/auto|scroll/.test(style.overflowY)) y = false;
      if (style.position === 'fixed') {
        if (box.left < 0 || box.right > innerWidth || (y && (box.top < 0 || box.bottom > innerHeight))) flaws.push(`${nameOf(element)} is outside of the window`);
        break;
      }
    }
  }

  // What is to be tapped.
  for (const element of document.querySelectorAll('a[href], button, input, [role^="menuitem"]')) {
    if (!isShown(element) || element.type === 'hidden') continue;
    const { width, height } = element.getBoundingClientRect();
    if (width < smallestTarget || height < smallestTarget) flaws.push(`${nameOf(element)} is ${Math.round(width)}×${Math.round(height)} to tap`);
  }
  for (const menu of document.querySelectorAll('.menu')) {
    const { left, top, right, bottom } = menu.getBoundingClientRect();
    if (left < 0 || top < 0 || right > innerWidth || bottom > innerHeight) flaws.push('the menu sticks out of the window');
  }
  return flaws;
}
