// One flow's whole life: where its time went, and each of its records.

import { h, s, ms, number, time, title } from "./dom.js";
import { openDialog } from "./dialogs.js";
import { outcome } from "./panels.js";

const PARTS = { StrategicSignal: "strategic", TacticalSignal: "tactical", RiskAssessment: "risk", ExecutionPlan: "execution" };

const chances = (distribution) => Object.entries(distribution || {}).map(([name, chance]) => `${name} ${(chance * 100).toFixed(0)} %`).join(", ");

function decision(step) {
  const record = step.record;
  if (record.bar && step.type === "MarketData") {
    return `open ${record.bar.open}, high ${record.bar.high}, low ${record.bar.low}, close ${record.bar.close}, volume ${number(record.bar.volume)}`;
  }
  if (step.type === "OrderEvent") {
    const what = record.filled ? `, ${record.side} ${record.filled} of ${record.quantity} at ${record.price}` : "";
    return `${record.kind}, flow ${record.flow_state}${what}`;
  }
  if (step.type === "PortfolioUpdate") return `position ${record.position} ${record.symbol}, released ${record.released}`;
  const part = record[PARTS[step.type]];
  if (!part) return "not decided here";
  const because = part.reasons?.length ? `, because of ${part.reasons.join(", ")}` : "";
  if (part.action) return `${part.action}: ${chances(part.distribution)}${because}`;
  if (part.verdict) return `${part.verdict}, ${part.envelope.side} up to ${part.envelope.max_quantity} at ${part.envelope.reference_price}${because}`;
  if (part.orders) return `${part.orders.length} orders${because}`;
  return "";
}

function hops(flow) {
  const newest = [...flow.steps].reverse().find((each) => each.record.envelope?.trace?.length);
  if (!newest) return { rows: [], end: 0 };
  let before = flow.accepted_at;
  const rows = newest.record.envelope.trace.map((hop) => {
    const row = { name: hop.stage, segments: [["transport", before, hop.received], ["queue", hop.received, hop.started], ["processing", hop.started, hop.finished]] };
    before = hop.finished;
    return row;
  });
  const events = flow.steps.filter((each) => each.type === "OrderEvent").map((each) => each.record.journal.now);
  if (events.length) rows.push({ name: "gateway", segments: [["transport", before, Math.min(...events)], ["order", Math.min(...events), Math.max(...events)]] });
  return { rows, end: Math.max(...rows.flatMap((row) => row.segments.map((each) => each[2]))) };
}

function timeline(flow) {
  const { rows, end } = hops(flow);
  if (!rows.length) return null;
  const [width, left, right, row] = [900, 90, 70, 30];
  const began = flow.accepted_at;
  const last = Math.max(end, began + 1);
  const x = (at) => left + (width - left - right) * Math.max(0, Math.min(1, (at - began) / (last - began)));
  const height = rows.length * row + 26;
  const parts = rows.flatMap((each, index) => {
    const y = index * row + 4;
    const drawn = each.segments.filter(([, from, to]) => to >= from).map(([kind, from, to]) =>
      s("rect", { class: `seg ${kind}`, x: x(from), y, width: Math.max(1.5, x(to) - x(from)), height: row - 10, rx: 2 },
        s("title", {}, `${each.name} ${kind}: ${ms((to - from) / 1000)} ms`)));
    const ends = each.segments.at(-1)[2];
    return [s("text", { x: 0, y: y + 15 }, title(each.name)), drawn,
      s("text", { class: "faint", x: x(ends) + 6, y: y + 15 }, `${ms((ends - began) / 1000)} ms`)];
  });
  if (flow.deadline && flow.deadline <= last) {
    parts.push(s("line", { class: "limit", x1: x(flow.deadline), x2: x(flow.deadline), y1: 0, y2: height - 20 }),
      s("text", { class: "faint middle", x: x(flow.deadline), y: height - 6 }, "deadline"));
  }
  const key = (kind, name) => h("span", {}, s("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" }, s("rect", { class: `seg ${kind}`, width: 26, height: 8 })), name);
  return h("div", { class: "timeline" },
    s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Where the flow's time went, by stage" }, parts),
    h("p", { class: "legend" }, key("transport", "through Kafka"), key("queue", "waiting"), key("processing", "deciding"), key("order", "orders at the venue")));
}

function stepItem(step, began) {
  const trace = step.record.envelope?.trace;
  const at = trace?.length ? trace.at(-1).finished : step.record.journal?.now ?? step.appended_at;
  const where = `${step.topic}[${step.partition}]@${step.offset}`;
  const policy = step.record.envelope?.policy;
  const latency = Object.entries(step.latency_ms || {}).map(([name, value]) => `${name} ${ms(value)}`).join(", ");
  return h("li", {},
    h("div", {}, h("strong", {}, step.type), " ", h("span", { class: "when" }, `+${ms((at - began) / 1000)} ms`)),
    h("div", {}, decision(step)),
    latency ? h("div", { class: "muted" }, `ms: ${latency}`) : null,
    policy ? h("div", { class: "muted" }, `policy ${policy.name} ${policy.version}, sha256 ${policy.sha256.slice(0, 12)}`) : null,
    h("div", { class: "muted" }, h("code", {}, where), step.control ? ` · ${step.control.trading_state} at epoch ${step.control.epoch}` : ""),
    h("details", {}, h("summary", {}, "record"), h("pre", { tabindex: 0 }, JSON.stringify(step.record, null, 2))));
}

/** Show a flow that `load` returns. */
export async function showFlow(id, load) {
  const closing = () => h("div", { class: "acts" }, h("button", { type: "button", onclick: () => document.getElementById("dialog").close() }, "Close"));
  const heading = `Flow ${id.slice(0, 40)}`;
  openDialog(heading, [h("p", { class: "calm" }, "Looking for its records…"), closing()], { wide: true });
  let flow;
  try {
    flow = await load(id);
  } catch (failure) {
    openDialog(heading, [h("p", { class: "error", role: "alert" }, failure.message), closing()], { wide: true });
    return;
  }
  const began = flow.accepted_at ?? flow.steps[0].appended_at;
  openDialog(`Flow ${flow.flow_id.slice(0, 16)}…`, [
    h("p", {}, flow.outcome ? [outcome(flow.outcome.kind), ` by ${flow.outcome.stage}`, flow.outcome.reasons?.length ? `: ${flow.outcome.reasons.join(", ")}` : "", flow.outcome.detail ? ` (${flow.outcome.detail})` : ""] : "It has not ended.",
      flow.order_state ? ` · orders ${flow.order_state}` : ""),
    h("p", { class: "muted" }, [flow.symbol && `${flow.symbol} number ${flow.sequence}`, `accepted ${time(began / 1e6)}`, flow.latency_ms.to_plan !== null && `plan after ${ms(flow.latency_ms.to_plan)} ms`, flow.latency_ms.to_fill !== null && `orders ended after ${ms(flow.latency_ms.to_fill)} ms`].filter(Boolean).join(" · ")),
    timeline(flow),
    h("h3", {}, "Records, by cause"),
    h("ol", { class: "steps" }, flow.steps.map((each) => stepItem(each, began))),
    flow.dead_letters.length ? [h("h3", {}, "Dead letters"), h("ol", { class: "steps" }, flow.dead_letters.map((each) => stepItem(each, began)))] : null,
    flow.unknown.map((each) => h("p", { class: "muted" }, `not known: ${each}`)),
    h("p", { class: "muted" }, h("code", {}, flow.flow_id)),
    closing(),
  ], { wide: true });
}
