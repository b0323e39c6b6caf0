// The page: who is logged in, the stream of pictures, and what is sent back.

import { byId } from "./dom.js";
import { drawCascade } from "./cascade.js";
import { confirmAcknowledgement, confirmCommand, showStage } from "./dialogs.js";
import { showFlow } from "./flow.js";
import { showAlerts, showCharts, showEmergencies, showFences, showFlows, showTiles, showTrading, showValidation } from "./panels.js";

const RANKS = ["viewer", "operator", "risk-officer"];
const LATE_MS = 5000;

let session = null;
let picture = null;
let stream = null;
let seenAt = 0;
let pressed = false;

async function request(path, body) {
  const options = { headers: {} };
  if (body !== undefined) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
    if (session) options.headers["X-CSRF-Token"] = session.csrf;
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The dashboard's server does not answer.");
  }
  const found = await response.json().catch(() => ({}));
  if (response.status === 401 && path !== "/api/login") logIn();
  if (!response.ok) throw new Error(found.error || `Refused with ${response.status}.`);
  return found;
}

// -- who ----------------------------------------------------------------------------------------

function may() {
  const rank = RANKS.indexOf(session.role);
  const why = `You are ${session.role}: that takes another role.`;
  return { operator: rank >= 1, officer: rank >= 2, why };
}

function logIn() {
  session = null;
  stream?.close();
  byId("dialog").close();
  byId("board").hidden = true;
  byId("who").hidden = byId("logout").hidden = true;
  byId("login").hidden = false;
  byId("live").textContent = "";
  byId("user").focus();
}

function begin(found) {
  session = found;
  byId("login").hidden = true;
  byId("login-form").reset();
  byId("login-error").textContent = "";
  byId("who").textContent = `${session.user} · ${session.role}`;
  byId("who").hidden = byId("logout").hidden = false;
  byId("board").hidden = false;
  byId("main").focus();
  listen();
}

byId("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const button = form.querySelector("button");
  button.disabled = true;
  byId("login-error").textContent = "";
  try {
    begin(await request("/api/login", { user: form.elements.user.value, password: form.elements.password.value }));
  } catch (failure) {
    byId("login-error").textContent = failure.message;
    form.elements.password.select();
  }
  button.disabled = false;
});

byId("logout").addEventListener("click", async () => {
  await request("/api/logout", {}).catch(() => {});
  logIn();
});

// -- pictures -----------------------------------------------------------------------------------

function listen() {
  stream?.close();
  stream = new EventSource("/api/events");
  stream.addEventListener("picture", (event) => {
    picture = JSON.parse(event.data);
    seenAt = Date.now();
    draw();
  });
  stream.addEventListener("logged-out", logIn);
  stream.addEventListener("error", () => {
    // A refusal ends a stream for good, a lost connection does not.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => session && restore(), 2000);
  });
}

async function restore() {
  try {
    begin(await request("/api/session"));
  } catch {
    if (session) setTimeout(restore, 2000);
  }
}

function showLive() {
  if (!session) return;
  const live = byId("live");
  const late = Date.now() - seenAt > LATE_MS;
  const broker = picture && picture.connection.live;
  const text = late ? "✕ no word from the server" : broker ? "● live" : "▲ no cascade in sight";
  if (live.textContent !== text) live.textContent = text;
  live.className = `live ${late || !broker ? "off" : "on"}`;
}

function draw() {
  // What is drawn anew between press and release of a button would never be clicked.
  if (pressed) return;
  const allowed = may();
  const connection = picture.connection;
  byId("namespace").textContent = connection.namespace;
  const trouble = byId("trouble");
  trouble.hidden = connection.live;
  if (!connection.live && trouble.dataset.said !== connection.detail) {
    trouble.dataset.said = connection.detail;
    trouble.replaceChildren(Object.assign(document.createElement("strong"), { textContent: "✕ The cascade is not in sight. This page comes alive when it is." }), connection.detail);
  }
  showLive();
  showTrading(picture, allowed, command);
  showTiles(picture);
  drawCascade(picture, openStage);
  showCharts(picture);
  showAlerts(picture, allowed, acknowledge);
  showEmergencies(picture, allowed, acknowledge);
  showFences(picture, allowed, command);
  showValidation(picture);
  showFlows(picture, openFlow);
}

// -- acting -------------------------------------------------------------------------------------

let saidTimer = null;

function say(text) {
  byId("said").textContent = text;
  clearTimeout(saidTimer);
  saidTimer = setTimeout(() => { byId("said").textContent = ""; }, 8000);
}

function command(kind, target = {}) {
  confirmCommand(kind, target, async (given) => {
    const result = await request("/api/commands", given);
    const where = result.scope && result.scope !== "*" ? ` ${result.scope}` : "";
    say(`${result.in_force ? "✓" : "▲"} ${result.kind}${where}${result.epoch >= 0 ? ` at epoch ${result.epoch}` : ""}: ${result.said}`);
  });
}

function acknowledge(what, each) {
  const path = what === "alert" ? "alerts" : "emergencies";
  confirmAcknowledgement(what, each, async (given) => {
    await request(`/api/${path}/${encodeURIComponent(each.id)}/acknowledge`, given);
    say("✓ Acknowledged.");
  });
}

function openStage(name) {
  showStage(picture.stages.find((each) => each.name === name), may(), command);
}

function openFlow(id) {
  showFlow(id, (wanted) => request(`/api/flows/${encodeURIComponent(wanted)}`));
}

// -- light and dark -----------------------------------------------------------------------------

const THEMES = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" };

function useTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  byId("theme").textContent = THEMES[name];
  byId("theme").setAttribute("aria-label", `Colours: ${name}`);
}

function storedTheme() {
  const stored = localStorage.getItem("theme");
  return stored in THEMES ? stored : "auto";
}

byId("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(storedTheme()) + 1) % names.length];
  localStorage.setItem("theme", next);
  useTheme(next);
});

for (const name of ["pointerdown", "pointerup", "pointercancel"]) {
  addEventListener(name, () => { pressed = name === "pointerdown"; }, true);
}

useTheme(storedTheme());
new ResizeObserver(() => { if (picture && session) draw(); }).observe(byId("cascade"));
setInterval(showLive, 1000);
request("/api/session").then(begin, logIn);
