/* What the page is doing, and what went wrong, in words that screen readers read out. */

import { Problem } from "./api.js";
import { byId } from "./elements.js";

const running = new Map();

/**
 * Run work(signal, progress), which may return words for its end. A newer action of the same name
 * ends it; its errors are shown. Without words the action is silent.
 */
export async function act(name, words, work) {
  stop(name);
  const own = new AbortController();
  running.set(name, own);
  begin(words);
  const bar = byId("progress");
  const progress = (done, total) => {
    bar.hidden = own.signal.aborted;
    [bar.max, bar.value] = [total, done];
  };
  try {
    say(await work(own.signal, progress));
  } catch (error) {
    if (!own.signal.aborted) show(error);
  } finally {
    if (running.get(name) === own) running.delete(name);
    if (!running.size) bar.hidden = true;
  }
}

/** End the action of a name, or all of them. */
export function stop(name) {
  for (const [each, controller] of running) {
    if (name === undefined || each === name) {
      controller.abort();
      running.delete(each);
    }
  }
}

/** Show what the page begins to do, and no errors of what was before. */
export function begin(words) {
  byId("error").textContent = "";
  say(words);
}

/** Show what the page is doing; undefined changes nothing. */
export function say(words) {
  if (words !== undefined) byId("status").textContent = words;
}

function show(error) {
  say("");
  byId("error").textContent = error.message;
  if (error.status === 401) {
    byId("key-form").hidden = false;
    byId("key").focus();
  }
  if (!(error instanceof Problem)) console.error(error);
}
