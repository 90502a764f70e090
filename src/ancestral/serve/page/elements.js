/* Elements of the page: found by id, made, and read. */

export const byId = (id) => document.getElementById(id);

/** Make an element with properties; attributes whose names have a hyphen, and role, are set as such. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** Return the number of a field, or null if it is empty. */
export function number(field) {
  return field.value === "" ? null : Number(field.value);
}

/** Fill a table: a head of words, and rows whose first cell is a heading. */
export function fill(table, head, rows) {
  const heads = head.map((words) => make("th", { scope: "col" }, words));
  table.replaceChildren(
    make("thead", {}, make("tr", {}, ...heads)),
    make("tbody", {}, ...rows.map(([name, ...cells]) =>
      make("tr", {}, make("th", { scope: "row" }, name), ...cells.map((cell) => make("td", {}, cell))))),
  );
}

/** Fill a table with probabilities as bars. */
export function bars(table, heading, rows) {
  fill(table, [heading, "", "probability"], rows.map(([name, probability]) => {
    const bar = make("span");
    bar.style.width = `${100 * probability}%`;
    return [name, make("span", { className: "track", "aria-hidden": "true" }, bar), percent(probability)];
  }));
}

const sign = (words) => words.replace("-", "\u2212").replace("Infinity", "\u221e");
/** Return a log-probability in words; JSON has null for minus infinity. */
export const nats = (value) => `${sign(Number(value ?? -Infinity).toFixed(2))} nats`;
export const decimal = (value, digits = 2) => sign(Number(value).toFixed(digits));
export function percent(value) {
  if (value < 1e-4) return "< 0.01 %";
  return `${value < 0.0995 ? (100 * value).toPrecision(2) : (100 * value).toFixed(1)} %`;
}
