// Elements and texts. Nothing here, or anywhere on the page, makes HTML out of text.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

/** Return an HTML element. */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Return an SVG element. */
export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export const byId = (id) => document.getElementById(id);

/** Put the focus on the element of a key; where it cannot take it, on the first that can beside. */
export function focusOn(key, panel) {
  const wanted = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  const place = panel || wanted?.closest("section");
  const next = wanted && !wanted.disabled ? wanted : place?.querySelector("button:not(:disabled)");
  (next || byId("main")).focus();
}

/**
 * Put content into a panel if what it shows has changed, and leave the focus where it was: on the
 * element of the same `data-key`.
 */
export function show(panel, shown, make) {
  const text = JSON.stringify(shown);
  if (panel.dataset.shown === text) return;
  panel.dataset.shown = text;
  const focused = panel.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  panel.replaceChildren(...[make(shown)].flat(Infinity).filter(Boolean));
  if (focused) focusOn(focused, panel);
}

const numbers = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const times = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

/** Return a number for people; a dash where nothing was measured. */
export function number(value, digits = 0) {
  if (value === null || value === undefined) return "–";
  return digits ? value.toFixed(digits) : numbers.format(value);
}

/** Return milliseconds with as many digits as say something. */
export function ms(value) {
  if (value === null || value === undefined) return "–";
  return value < 10 ? value.toFixed(1) : numbers.format(value);
}

/** Return packets a second. */
export function rate(value) {
  if (value === null || value === undefined) return "–";
  return value > 0 && value < 10 ? value.toFixed(1) : numbers.format(value);
}

export const time = (seconds) => times.format(new Date(seconds * 1000));

export const title = (word) => word.charAt(0).toUpperCase() + word.slice(1);
