/* How values are drawn, as the fields of the page say. */

import { byId, number } from "./elements.js";

/** Return seed, temperature and filters as the server reads them; filters that are off are left out. */
export function settings() {
  const filters = { top_p: number(byId("top-p")), top_k: number(byId("top-k")) };
  const chosen = Object.entries(filters).filter(([, value]) => value !== null);
  return { seed: number(byId("seed")), temperature: number(byId("temperature")), ...Object.fromEntries(chosen) };
}
