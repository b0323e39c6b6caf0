// What stands around the picture: trading state, figures, charts, lists.

import { h, byId, show, ms, number, rate, time, title } from "./dom.js";
import { chart } from "./charts.js";

const LEVELS = {
  INFO: ["info", "ℹ"], WARNING: ["warn", "▲"], CRITICAL: ["bad", "◆"], EMERGENCY: ["bad", "■"],
  ADVISORY: ["info", "ℹ"], CAUTION: ["warn", "△"], ERROR: ["bad", "◆"],
};
const OUTCOMES = {
  executed: ["good", "✓"], held: ["info", "○"], rejected: ["held", "⊘"],
  expired: ["warn", "⧗"], shed: ["warn", "▽"], dead_lettered: ["bad", "✕"],
};
const STATES = {
  ACTIVE: ["active", "▶", "Orders go out."],
  REDUCING: ["reducing", "▼", "Only orders that reduce a position go out."],
  HALTED: ["halted", "■", "No order goes out."],
};

export function level(name) {
  const [style, symbol] = LEVELS[name] || ["plain", "·"];
  return h("span", { class: `badge ${style}` }, `${symbol} ${name}`);
}

export function outcome(name) {
  const [style, symbol] = OUTCOMES[name] || ["plain", "·"];
  return h("span", { class: `badge ${style}` }, `${symbol} ${name.replace("_", " ")}`);
}

const button = (key, text, act, enabled, why, style = "small") =>
  h("button", { type: "button", class: style, "data-key": key, disabled: !enabled, title: enabled ? null : why, onclick: act }, text);

/** Show the trading state and what may be done about it. */
export function showTrading(picture, may, act) {
  const control = picture.control;
  const local = picture.latch.local;
  const shown = { control, local, latch: picture.latch, may, live: picture.connection.live };
  const panel = byId("trading");
  show(panel, shown, () => {
    const held = control && control.latch.holds && control.latch.state === "HALTED";
    const state = local || held ? "HALTED" : control ? control.state : null;
    const [style, symbol, effect] = STATES[state] || ["unknown", "?", "The control log cannot be read: workers that cannot read it either halt by themselves."];
    panel.className = `card trading ${style}`;
    const why = local
      ? `Halted on this machine by ${picture.latch.author || "nobody"}: ${picture.latch.reason}. Lift it by: cascade control resume --local ${picture.latch.halt_id}`
      : control ? control.reason : "";
    const epoch = control ? `control epoch ${control.epoch}` : "";
    const acts = [
      button("halt", "■ Halt trading", () => act("HALT"), may.operator && (state !== "HALTED" || !control), may.why, "danger"),
      state === "ACTIVE" && button("reduce", "▼ Reduce only", () => act("REDUCE"), may.operator, may.why, ""),
    ];
    if (control && !control.bootstrapped) {
      acts.push(button("bootstrap", "▶ Allow trading", () => act("BOOTSTRAP"), may.officer, may.why, "primary"));
    }
    if (control && control.halt_epoch >= 0) {
      acts.push(button("resume", "▶ Resume", () => act("RESUME", { lifts: control.halt_epoch }), may.officer, may.why, "primary"));
    } else if (control && control.reduce_epoch >= 0) {
      acts.push(button("resume", "▶ Trade fully", () => act("RESUME", { lifts: control.reduce_epoch }), may.officer, may.why, "primary"));
    }
    return [
      h("div", { class: "state", id: "state" }, `${symbol} ${state || "NOT KNOWN"}`),
      h("div", { class: "why" }, h("p", {}, effect), h("p", { class: "muted" }, [why, epoch].filter(Boolean).join(" · "))),
      h("div", { class: "acts" }, acts),
    ];
  });
}

function tile(name, value, unit, note, style) {
  return h("div", { class: "tile" },
    h("div", { class: "name" }, name),
    h("b", {}, value, unit && value !== "–" ? h("small", {}, ` ${unit}`) : null),
    h("div", { class: `note ${style || ""}` }, note));
}

const counted = (count, one, many) => `${count} ${count === 1 ? one : many}`;

export function showTiles(picture) {
  const figures = picture.figures;
  const latency = figures.latency_ms;
  const within = latency && latency.p99 <= figures.target_ms;
  const failing = figures.failure_rate;
  const active = picture.emergencies.filter((each) => each.active).length;
  const open = picture.alerts.filter((each) => !each.acknowledged && each.level !== "INFO").length;
  const notes = Object.entries(figures.outcomes).filter(([, count]) => count)
    .map(([name, count]) => `${number(count)} ${name.replace("_", " ")}`);
  show(byId("tiles"), [figures, active, open, picture.validation.score], () => [
    tile("Packets ended", rate(figures.ended_per_s), "/s", `${rate(figures.offered_per_s)} /s offered`),
    tile("Latency p50", ms(latency && latency.p50), "ms", "from acceptance to order plan"),
    tile("Latency p99", ms(latency && latency.p99), "ms",
      latency ? `${within ? "✓ within" : "✕ over"} ${figures.target_ms} ms` : `target ${figures.target_ms} ms`,
      latency ? (within ? "good" : "bad") : ""),
    tile("Failed", failing === null ? "–" : (failing * 100).toFixed(2), "%",
      failing === null ? "nothing ended lately" : failing < 0.01 ? "✓ under 1 %" : "✕ 1 % or more", failing === null ? "" : failing < 0.01 ? "good" : "bad"),
    tile("Outcomes", number(figures.ended), "in all", notes.slice(0, 3).join(" · ") || "none in 10 s"),
    tile("Attention", number(active + open), "", `${counted(active, "emergency", "emergencies")}, ${counted(open, "open alert", "open alerts")}`, active + open ? "bad" : "good"),
  ]);
}

export function showCharts(picture) {
  const { history, at, figures } = picture;
  byId("latency").replaceChildren(...[chart({
    width: byId("latency").clientWidth, label: "Latency in milliseconds", times: history.at, now: at, unit: " ms",
    lines: [{ name: "p99 ms", values: history.p99, style: "s1", area: true }, { name: "p50 ms", values: history.p50, style: "s2" }],
    limit: { at: figures.target_ms, name: `target ${figures.target_ms} ms` },
  })].flat());
  byId("rate").replaceChildren(...[chart({
    width: byId("rate").clientWidth, label: "Packets a second", times: history.at, now: at, unit: "",
    lines: [{ name: "ended", values: history.rate, style: "s1", area: true }, { name: "of these failed", values: history.failed, style: "bad" }],
  })].flat());
}

const heading = (text, count, more) => h("h2", {}, text, h("span", { class: "count" }, count), more);

export function showAlerts(picture, may, act) {
  show(byId("alerts"), [picture.alerts, may], () => [
    heading("Alerts", picture.alerts.length ? number(picture.alerts.length) : ""),
    picture.alerts.length ? h("ul", { class: "list scroll" }, picture.alerts.map((each) => h("li", {},
      level(each.level),
      h("div", { class: "what" }, each.message,
        h("div", { class: "muted" }, [time(each.at), each.subject, each.acknowledged ? `taken on${each.acknowledged_by ? ` by ${each.acknowledged_by}` : ""}` : ""].filter(Boolean).join(" · "))),
      h("div", { class: "acts" }, each.acknowledged ? h("span", { class: "badge good" }, "✓ acknowledged")
        : button(`alert-${each.id}`, "Acknowledge", () => act("alert", each), may.operator, may.why)),
    ))) : h("p", { class: "calm" }, "✓ No alert stands."),
  ]);
}

export function showEmergencies(picture, may, act) {
  const active = picture.emergencies.filter((each) => each.active);
  show(byId("emergencies"), [picture.emergencies, may], () => [
    heading("Emergencies", active.length ? `${active.length} active` : ""),
    picture.emergencies.length ? h("ul", { class: "list scroll" }, picture.emergencies.map((each) => h("li", {},
      each.active ? level(each.level) : h("span", { class: "badge plain" }, "over"),
      h("div", { class: "what" },
        h("strong", {}, title(each.type.replaceAll("_", " ").toLowerCase())), ` ${each.systems.join(", ")}`,
        h("div", {}, each.description),
        h("div", { class: "muted" }, [time(each.declared), each.course.toLowerCase(), each.acknowledged && `taken on by ${each.acknowledged}`].filter(Boolean).join(" · "))),
      h("div", { class: "acts" }, each.active && !each.acknowledged
        && button(`emergency-${each.id}`, "Acknowledge", () => act("emergency", each), may.operator, may.why)),
    ))) : h("p", { class: "calm" }, "✓ None was declared."),
  ]);
}

export function showFences(picture, may, act) {
  const control = picture.control;
  const fences = control ? control.fences : [];
  const trips = control ? control.trips : [];
  show(byId("fences"), [fences, trips, may, !control], () => [
    heading("Isolated and tripped", fences.length + trips.length || "",
      button("isolate", "Isolate…", () => act("ISOLATE", { ask: true }), may.operator, may.why)),
    fences.length + trips.length ? h("ul", { class: "list scroll" },
      trips.map((each) => h("li", {}, h("span", { class: "badge bad" }, "◆ tripped"),
        h("div", { class: "what" }, h("strong", {}, each.scope), ` ${each.reason}`, h("div", { class: "muted" }, `${each.author} · ${time(each.at)} · epoch ${each.epoch}`)),
        h("div", { class: "acts" }, button(`reset-${each.scope}`, "Reset", () => act("RESET", { scope: each.scope, lifts: each.epoch }), may.officer, may.why)))),
      fences.map((each) => h("li", {}, h("span", { class: "badge held" }, each.kind === "ISOLATE" ? "■ isolated" : "◐ breaker open"),
        h("div", { class: "what" }, h("strong", {}, each.scope), ` ${each.reason}`, h("div", { class: "muted" }, `${each.author} · ${time(each.at)} · epoch ${each.epoch}`)),
        h("div", { class: "acts" }, each.kind === "ISOLATE"
          ? button(`release-${each.scope}`, "Release", () => act("RELEASE", { scope: each.scope, lifts: each.epoch }), may.operator, may.why)
          : button(`close-${each.scope}`, "Reset breaker", () => act("BREAKER_RESET", { scope: each.scope }), may.officer, may.why)))))
      : h("p", { class: "calm" }, control ? "✓ Nothing is fenced off, nothing has tripped." : "Not known."),
  ]);
}

export function showValidation(picture) {
  const found = picture.validation;
  show(byId("validation"), found, () => {
    if (found.at === undefined) return [heading("Validation", ""), h("p", { class: "calm" }, title(found.detail))];
    const score = found.score === null ? "no data" : `${(found.score * 100).toFixed(0)} % of rules passed`;
    return [
      heading("Validation", score, h("span", { class: "muted" }, `${found.passed} passed, ${found.failed} failed, ${found.no_data} without data · ${time(found.at)}`)),
      found.findings.length ? h("ul", { class: "list scroll" }, found.findings.map((each) => h("li", {},
        level(each.level),
        h("div", { class: "what" }, h("strong", {}, each.rule), ` ${each.message}`,
          each.remedy.length ? h("div", { class: "muted" }, each.remedy.join(" ")) : null),
        h("div", {}))))
        : h("p", { class: "calm" }, found.score === null ? "There was nothing to look at yet." : "✓ No rule found anything."),
      found.detail ? h("p", { class: "muted" }, found.detail) : null,
    ];
  });
}

let chosen = "all";

/** Show the newest flows; they stand still while somebody points at them or walks through them. */
export function showFlows(picture, open) {
  const panel = byId("flows");
  const body = panel.querySelector("tbody");
  const still = body && (body.matches(":hover") || body.contains(document.activeElement));
  if (!body) buildFlows(panel, open);
  const mark = panel.querySelector(".still");
  mark.textContent = still ? "paused while you choose" : "";
  if (still) return;
  const flows = picture.flows.filter((each) => chosen === "all" || each.outcome === chosen);
  panel.querySelector("tbody").replaceChildren(...flows.slice(0, 12).map((each) => h("tr", {},
    h("td", {}, h("button", { type: "button", class: "link mono", "aria-label": `Flow ${each.id} of ${each.symbol}`, onclick: () => open(each.id) }, each.id.slice(0, 12))),
    h("td", {}, each.symbol),
    h("td", {}, outcome(each.outcome)),
    h("td", { class: "num" }, ms(each.latency_ms)),
    h("td", { class: "wide-only" }, each.stage),
    h("td", { class: "wide-only" }, each.orders ? `${each.orders} orders` : each.reasons.join(", ") || "–"),
    h("td", { class: "num wide-only" }, time(each.ended)))));
  panel.querySelector(".calm").hidden = flows.length > 0;
}

function buildFlows(panel, open) {
  const select = h("select", { id: "outcome", "aria-label": "Outcome", onchange: (event) => { chosen = event.target.value; } },
    h("option", { value: "all" }, "all outcomes"),
    Object.keys(OUTCOMES).map((each) => h("option", { value: each }, each.replace("_", " "))));
  const search = h("form", { onsubmit: (event) => { event.preventDefault(); const id = event.target.elements.id.value.trim(); if (id) open(id); } },
    h("input", { name: "id", "aria-label": "Flow, packet or order id", placeholder: "flow, packet or order id", maxlength: 200, spellcheck: "false" }),
    h("button", { type: "submit" }, "Find"));
  panel.replaceChildren(
    h("h2", {}, "Recent flows", h("span", { class: "muted still" })),
    h("div", { class: "filters" }, select, search),
    h("table", {},
      h("thead", {}, h("tr", {}, h("th", {}, "Flow"), h("th", {}, "Symbol"), h("th", {}, "Outcome"), h("th", { class: "num" }, "ms"),
        h("th", { class: "wide-only" }, "Decided by"), h("th", { class: "wide-only" }, "Orders or why not"), h("th", { class: "num wide-only" }, "Ended"))),
      h("tbody", {})),
    h("p", { class: "calm" }, "No flow has ended yet."));
}
