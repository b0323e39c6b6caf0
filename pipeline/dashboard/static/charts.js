// Lines over the last two minutes, as SVG.

import { h, s } from "./dom.js";

const SPAN_S = 120;
const GAP_S = 12;

function runs(times, values, x, y) {
  const found = [];
  let run = [];
  let before = null;
  values.forEach((value, index) => {
    const gap = before !== null && times[index] - before > GAP_S;
    if (value === null || gap) {
      if (run.length) found.push(run);
      run = [];
    }
    if (value !== null) run.push([x(times[index]), y(value)]);
    before = times[index];
  });
  if (run.length) found.push(run);
  return found;
}

const path = (run) => run.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");

/** Return the parts of a sparkline within a box. */
export function sparkline(times, values, box, now) {
  const top = Math.max(...values.filter((each) => each !== null), 1e-6);
  const x = (at) => box.x + box.width * Math.max(0, 1 - (now - at) / SPAN_S);
  const y = (value) => box.y + box.height * (1 - value / top);
  return runs(times, values, x, y).flatMap((run) => {
    const bottom = box.y + box.height;
    const area = `${path(run)}L${run.at(-1)[0]},${bottom}L${run[0][0]},${bottom}Z`;
    return [s("path", { class: "area s1", d: area }), s("path", { class: "line s1", d: path(run) })];
  });
}

function steps(top) {
  const raw = top / 4;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * size).find((each) => each >= raw);
  return [0, 1, 2, 3, 4].map((each) => each * step).filter((each) => each <= top * 1.001);
}

/**
 * Return a chart with its legend.
 *
 * It is as wide as `width`; `lines` are {name, values, style, area}; `limit` is {at, name} or null.
 */
export function chart({ width: room, label, times, lines, now, unit, limit }) {
  const width = Math.max(240, Math.round(room));
  const [height, left, right, top, bottom] = [190, 46, 10, 12, 24];
  const known = lines.flatMap((each) => each.values).filter((each) => each !== null);
  if (!known.length) return h("p", { class: "calm" }, "Nothing has been measured yet.");
  const highest = Math.max(...known, limit ? limit.at : 0, 1) * 1.08;
  const x = (at) => left + (width - left - right) * Math.max(0, 1 - (now - at) / SPAN_S);
  const y = (value) => top + (height - top - bottom) * (1 - value / highest);
  const parts = steps(highest).flatMap((value) => [
    s("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }),
    s("text", { class: "faint end", x: left - 7, y: y(value) + 4 }, String(value)),
  ]);
  for (const back of width < 420 ? [120, 60, 0] : [120, 90, 60, 30, 0]) {
    const anchor = back === 120 ? "faint" : back === 0 ? "faint end" : "faint middle";
    parts.push(s("text", { class: anchor, x: x(now - back), y: height - 6 }, back ? `−${back} s` : "now"));
  }
  if (limit) {
    parts.push(
      s("line", { class: "limit", x1: left, x2: width - right, y1: y(limit.at), y2: y(limit.at) }),
      s("text", { class: "faint end", x: width - right, y: y(limit.at) - 5 }, limit.name),
    );
  }
  for (const line of lines) {
    for (const run of runs(times, line.values, x, y)) {
      if (line.area) {
        const area = `${path(run)}L${run.at(-1)[0]},${y(0)}L${run[0][0]},${y(0)}Z`;
        parts.push(s("path", { class: `area ${line.style}`, d: area }));
      }
      parts.push(s("path", { class: `line ${line.style}`, d: path(run) }));
    }
  }
  const last = (line) => line.values.at(-1);
  const said = lines.map((each) => `${each.name} ${last(each) === null ? "unknown" : last(each) + unit}`);
  return [
    s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${label}: now ${said.join(", ")}` }, parts),
    h("p", { class: "legend" }, lines.map((line) =>
      h("span", {},
        s("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" },
          s("path", { class: `line ${line.style}`, d: "M1,4L25,4" })),
        line.name))),
  ];
}
