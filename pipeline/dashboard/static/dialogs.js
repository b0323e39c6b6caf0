// Dialogs: to confirm a command, to take something on, to look at a stage.

import { h, byId, focusOn, ms, number, rate, title } from "./dom.js";
import { CONDITIONS } from "./cascade.js";

const EFFECTS = {
  HALT: ["Halt trading", "No order leaves until somebody resumes. Workers that do not answer are named.", "■ Halt trading", "danger"],
  REDUCE: ["Reduce only", "Only orders that reduce a position go out until somebody resumes.", "▼ Reduce only", "danger"],
  RESUME: ["Resume trading", "Orders go out again. It lifts exactly what you see here; what has tripped stays so.", "▶ Resume", "primary"],
  BOOTSTRAP: ["Allow trading for the first time", "The control log is empty, which means HALTED. Orders go out from then on.", "▶ Allow trading", "primary"],
  ISOLATE: ["Isolate", "It is fenced off: a stage's input waits in Kafka, packets of a symbol or source end as rejected, a policy holds every packet.", "■ Isolate", "danger"],
  RELEASE: ["Release", "The fence is taken down. What has expired meanwhile ends as expired.", "▶ Release", "primary"],
  RESET: ["Reset what tripped", "It no longer halts trading. Compare the venue's orders with the log before.", "▶ Reset", "primary"],
  BREAKER_OPEN: ["Force the breaker open", "The stage holds every packet until the breaker is reset.", "◐ Force open", "danger"],
  BREAKER_RESET: ["Reset the breaker", "The stage's policy is asked again.", "▶ Reset breaker", "primary"],
};

let before = null;

/** Show a dialog, in place of one that is open; the focus returns to where it was before. */
export function openDialog(heading, content, { wide = false } = {}) {
  const dialog = byId("dialog");
  if (!dialog.open) before = document.activeElement?.dataset?.key;
  dialog.className = wide ? "wide" : "";
  dialog.replaceChildren(h("h2", { id: "dialog-title" }, heading), ...[content].flat(Infinity).filter(Boolean));
  dialog.onclose = () => {
    dialog.replaceChildren();
    if (before) focusOn(before);
  };
  if (!dialog.open) dialog.showModal();
}

const close = () => byId("dialog").close();

function ask({ heading, effect, fields, submit, style, send }) {
  const error = h("p", { class: "error", role: "alert" });
  const confirm = h("button", { type: "submit", class: style }, submit);
  const form = h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      confirm.disabled = true;
      error.textContent = "";
      try {
        await send(Object.fromEntries(new FormData(event.target)));
        close();
      } catch (failure) {
        error.textContent = failure.message;
        confirm.disabled = false;
      }
    },
  }, h("p", { class: "effect" }, effect), fields, error,
  h("div", { class: "acts" }, h("button", { type: "button", onclick: close }, "Cancel"), confirm));
  openDialog(heading, form);
  form.querySelector("input")?.focus();
}

const reasonField = () => [
  h("label", { for: "reason" }, "Reason, for those who read the history"),
  h("input", { id: "reason", name: "reason", required: true, maxlength: 500, autocomplete: "off" }),
];

/** Have a command confirmed, with its reason; `send` is called with the command. */
export function confirmCommand(kind, { scope, lifts, ask: asks }, send) {
  const [heading, effect, submit, style] = EFFECTS[kind];
  const where = scope && scope !== "*" ? ` ${scope}` : "";
  const named = lifts >= 0 ? ` Lifts epoch ${lifts}.` : "";
  const fields = [
    asks && [
      h("label", { for: "scope" }, "What: stage:NAME, symbol:NAME, policy:STAGE or source:NAME"),
      h("input", { id: "scope", name: "scope", required: true, maxlength: 128, value: scope || "", placeholder: "symbol:IBM", autocomplete: "off" }),
    ],
    reasonField(),
  ];
  ask({
    heading: `${heading}${where}?`, effect: effect + named, fields, submit, style,
    send: (given) => send({ kind, reason: given.reason, scope: given.scope || scope || "*", lifts: lifts ?? -1 }),
  });
}

/** Have somebody take an alert or an emergency on. */
export function confirmAcknowledgement(what, each, send) {
  ask({
    heading: `Acknowledge this ${what}?`,
    effect: `${each.message || each.description}. You take it on: it is not escalated for want of an answer.`,
    fields: [
      h("label", { for: "note" }, "Note, if there is something to say"),
      h("input", { id: "note", name: "note", maxlength: 500, autocomplete: "off" }),
    ],
    submit: "✓ Acknowledge", style: "primary", send: (given) => send({ note: given.note }),
  });
}

function pairs(entries) {
  return h("dl", { class: "pairs" }, entries.filter(([, value]) => value !== null && value !== "").map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** Show a stage's figures, and what may be done about it. */
export function showStage(stage, may, act) {
  const [symbol, word] = CONDITIONS[stage.condition];
  const latency = stage.latency_ms;
  const scope = `stage:${stage.name}`;
  const does = (kind) => () => act(kind, { scope });
  openDialog(title(stage.name), [
    h("p", {}, h("strong", {}, `${symbol} ${word}`), stage.detail ? `: ${stage.detail}` : ""),
    pairs([
      ["Workers", number(stage.workers)],
      ["Records a second", rate(stage.per_s)],
      ["Waiting", stage.lag_records === null ? "–" : `${number(stage.lag_records)} records, the oldest for ${number(stage.lag_s, 1)} s`],
      ["Lag by Burrow's rules", stage.lag_state],
      ["Time at the stage", latency ? `p50 ${ms(latency.p50)}, p95 ${ms(latency.p95)}, p99 ${ms(latency.p99)}, p99.9 ${ms(latency.p999)} ms` : "–"],
      ["Share of time deciding", stage.busy === null ? "–" : `${(stage.busy * 100).toFixed(0)} %`],
    ]),
    h("div", { class: "acts" },
      h("button", { type: "button", onclick: close }, "Close"),
      stage.isolated
        ? h("button", { type: "button", class: "primary", disabled: !may.operator, onclick: does("RELEASE") }, "▶ Release")
        : h("button", { type: "button", class: "danger", disabled: !may.operator, onclick: does("ISOLATE") }, "■ Isolate stage")),
    may.operator ? null : h("p", { class: "muted" }, may.why),
  ]);
}
