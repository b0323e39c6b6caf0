// The cascade as a picture: in a row, in two, or in a column, as wide as there is room.

import { s, byId, focusOn, ms, number, rate, title } from "./dom.js";
import { sparkline } from "./charts.js";

/** Symbol and word of each condition: told apart without colour. */
export const CONDITIONS = {
  working: ["●", "working"],
  idle: ["○", "idle"],
  behind: ["▲", "behind"],
  restricted: ["◐", "restricted"],
  isolated: ["■", "isolated"],
  down: ["✕", "no worker"],
  unknown: ["?", "not known"],
};

const NODES = 6;

function layout(width) {
  const columns = width >= 980 ? 6 : width >= 560 ? 3 : 1;
  const gap = columns === 1 ? 26 : 38;
  const rows = NODES / columns;
  const nodeWidth = (width - gap * (columns - 1)) / columns;
  const nodeHeight = columns === 1 ? 118 : 196;
  const between = columns === 1 ? 26 : 54;
  const tail = columns === 6 ? 44 : 6;
  const places = Array.from({ length: NODES }, (_, index) => ({
    x: (index % columns) * (nodeWidth + gap),
    y: Math.floor(index / columns) * (nodeHeight + between) + (columns === 1 ? 3 : 22),
  }));
  const height = rows * nodeHeight + (rows - 1) * between + tail + 20;
  return { columns, nodeWidth, nodeHeight, places, height };
}

function market(picture) {
  const offered = picture.figures.offered_per_s;
  const known = picture.connection.live;
  const condition = !known ? "unknown" : offered > 0 ? "working" : "idle";
  return { name: "market", condition, per_s: offered, detail: "market data that is offered" };
}

function latencyText({ p50, p99 }) {
  if (p99 < 1000) return `p50 ${ms(p50)} · p99 ${ms(p99)} ms`;
  return `p50 ${(p50 / 1000).toFixed(1)} · p99 ${(p99 / 1000).toFixed(1)} s`;
}

function lagText(stage) {
  if (stage.name === "market") return "bars offered";
  if (stage.lag_records === null) return "nothing has come yet";
  if (!stage.lag_records) return "0 waiting";
  return `${number(stage.lag_records)} waiting, ${number(stage.lag_s, 1)} s`;
}

function workersText(stage) {
  if (stage.workers === null || stage.workers === undefined) return "";
  return stage.workers === 1 ? "1 worker" : `${stage.workers} workers`;
}

function said(stage, word) {
  const latency = stage.latency_ms ? `, p99 ${ms(stage.latency_ms.p99)} milliseconds` : "";
  const detail = stage.detail ? `, ${stage.detail}` : "";
  return `${title(stage.name)}: ${word}, ${rate(stage.per_s)} a second${latency}, ${lagText(stage)}${detail}`;
}

function node(stage, place, size, history, now, open) {
  const [symbol, word] = CONDITIONS[stage.condition];
  const { nodeWidth: width, nodeHeight: height, columns } = size;
  const [x, y] = [place.x + 14, place.y];
  const narrow = columns === 1;
  const right = place.x + width - 12;
  const parts = [
    s("rect", { class: "body", x: place.x + 2, y, width: width - 4, height, rx: 12 }),
    s("rect", { class: "edge", x: place.x + 2, y: y + 14, width: 5, height: 22, rx: 2.5 }),
    s("text", { class: "title", x, y: y + 30 }, title(stage.name)),
    s("text", narrow ? { class: "word end", x: right, y: y + 30 } : { class: "word", x, y: y + 52 }, `${symbol} ${word}`),
    s("text", { class: "big", x, y: narrow ? y + 60 : y + 82 }, `${rate(stage.per_s)}/s`),
  ];
  if (stage.latency_ms) {
    const text = latencyText(stage.latency_ms);
    parts.push(s("text", { class: "faint", x, y: narrow ? y + 82 : y + 102 }, text));
  }
  const box = narrow
    ? { x: place.x + width * 0.52, y: y + 46, width: width * 0.48 - 14, height: 34 }
    : { x, y: y + 112, width: width - 28, height: 34 };
  if (stage.name !== "market") parts.push(...sparkline(history.at, history[stage.name], box, now));
  else parts.push(...sparkline(history.at, history.rate, box, now));
  parts.push(s("text", { class: "faint", x, y: y + height - (narrow ? 14 : 28) }, lagText(stage)));
  const workers = workersText(stage);
  if (narrow) parts.push(s("text", { class: "faint end", x: right, y: y + height - 14 }, workers));
  else parts.push(s("text", { class: "faint", x, y: y + height - 10 }, workers));
  const attributes = { class: `node ${stage.condition}`, "aria-label": said(stage, word) };
  if (stage.name === "market") return s("g", { ...attributes, role: "img" }, parts);
  const press = (event) => {
    if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    open(stage.name);
  };
  return s("g", {
    ...attributes, role: "button", tabindex: 0, "data-key": `stage-${stage.name}`,
    onclick: press, onkeydown: press,
  }, parts);
}

function wires(size, moving, control) {
  const { places, nodeWidth: width, nodeHeight: height, columns } = size;
  const parts = [];
  for (let index = 0; index < NODES - 1; index += 1) {
    const [from, to] = [places[index], places[index + 1]];
    const goes = moving[index] ? " moving" : "";
    let line;
    let head;
    let middle;
    if (columns === 1) {
      const x = width / 2;
      line = `M${x},${from.y + height}L${x},${to.y - 8}`;
      head = `M${x - 6},${to.y - 9}L${x + 6},${to.y - 9}L${x},${to.y - 1}Z`;
      middle = [x + 18, from.y + height + 17];
    } else if (from.y === to.y) {
      const y = from.y + height / 2;
      line = `M${from.x + width},${y}L${to.x - 8},${y}`;
      head = `M${to.x - 9},${y - 6}L${to.x - 9},${y + 6}L${to.x},${y}Z`;
      middle = [(from.x + width + to.x) / 2, y];
    } else {
      const [x1, x2] = [from.x + width / 2, to.x + width / 2];
      const y = from.y + height + 26;
      line = `M${x1},${from.y + height}L${x1},${y}L${x2},${y}L${x2},${to.y - 8}`;
      head = `M${x2 - 6},${to.y - 9}L${x2 + 6},${to.y - 9}L${x2},${to.y - 1}Z`;
      middle = [(x1 + x2) / 2, y];
    }
    parts.push(s("path", { class: `wire${goes}`, d: line }), s("path", { class: `head${goes}`, d: head }));
    if (index === NODES - 2 && control && control.state !== "ACTIVE") {
      const [x, y] = middle;
      const word = control.state === "HALTED" ? "halted" : "reducing";
      if (columns === 1) {
        parts.push(s("rect", { class: "gate", x: x - 36, y: from.y + height + 6, width: 24, height: 6, rx: 2 }));
        parts.push(s("text", { class: "gate-word", x, y }, `■ ${word}`));
      } else {
        parts.push(s("path", { class: "gate-line", d: `M${x},${from.y - 4}L${x},${from.y + height}` }));
        parts.push(s("rect", { class: "gate", x: x - 4, y: y - 16, width: 8, height: 32, rx: 2 }));
        parts.push(s("text", { class: "gate-word middle", x, y: from.y - 9 }, `■ ${word}`));
      }
    }
  }
  if (columns === 6) {
    const [risk, gateway] = [places[3], places[5]];
    const low = risk.y + height + 26;
    const [x1, x2] = [gateway.x + width / 2, risk.x + width / 2];
    parts.push(
      s("path", { class: "wire back", d: `M${x1},${risk.y + height}L${x1},${low}L${x2},${low}L${x2},${risk.y + height + 8}` }),
      s("path", { class: "head", d: `M${x2 - 5},${risk.y + height + 9}L${x2 + 5},${risk.y + height + 9}L${x2},${risk.y + height + 1}Z` }),
      s("text", { class: "faint middle", x: (x1 + x2) / 2, y: low - 6 }, "fills: what was reserved is given back"),
    );
  }
  return parts;
}

/** Draw the picture; `open` is called with the name of the stage that somebody chose. */
export function drawCascade(picture, open) {
  const panel = byId("cascade");
  const width = Math.max(260, Math.round(panel.clientWidth));
  const size = layout(width);
  const stages = [market(picture), ...picture.stages];
  const moving = stages.slice(0, -1).map((each, index) =>
    each.condition === "working" && stages[index + 1].condition === "working");
  const focused = panel.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const svg = s("svg", { viewBox: `0 0 ${width} ${size.height}`, width, height: size.height, role: "group", "aria-label": "Stages of the cascade, in the order of the flow" },
    wires(size, moving, picture.control),
    stages.map((stage, index) => node(stage, size.places[index], size, picture.history, picture.at, open)));
  panel.replaceChildren(svg);
  if (focused) focusOn(focused, panel);
}
