/**
 * Where the daemon went away while the page came, a part of it is missing, and a module whose imports are missing never
 * runs: this one, which has none, loads the page again once it can be had. Screens that nobody looks after depend on it.
 * @module
 */

/** How often (ms) it is looked whether all is there; on a slow link it may take as long. */
const EVERY = 5_000;
/** Longest wait (ms) for an answer. */
const ANSWER = 4_000;

const timer = setInterval(async () => {
  // wall.js says so when it has run to its end.
  const isWhole = () => 'whole' in document.documentElement.dataset;
  if (isWhole()) return clearInterval(timer);
  // Parts may still be under way.
  if (document.readyState !== 'complete') return;
  const answer = await fetch(location.href, { cache: 'no-store', signal: AbortSignal.timeout(ANSWER) }).catch(() => undefined);
  if (answer?.ok && !isWhole()) location.reload();
}, EVERY);
