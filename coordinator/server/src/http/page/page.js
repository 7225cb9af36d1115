// The status page. Every text from the outside becomes a text node: `el` is the only way to make elements here.
"use strict";

const main = document.getElementById("main");
const LOG_LINES_MAX = 5000;
const LINE_CHARS_MAX = 65536;
const EVENTS_SHOWN = 200;

function el(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props || {})) {
    if (value === undefined || value === null) continue;
    if (key === "class") node.className = value;
    else if (key === "onclick") node.addEventListener("click", value);
    else if (key === "href") node.href = link(value);
    else if (key === "title") node.title = value;
    else if (key === "value") node.value = value;
    else if (key === "max") node.max = value;
    else throw new Error("no such property: " + key);
  }
  for (const child of children.flat()) {
    if (child === undefined || child === null || child === "") continue;
    node.append(child instanceof Node ? child : document.createTextNode(clean(String(child))));
  }
  return node;
}

// Colours and cursor movements are a terminal's business, and no name may turn the reading direction of others.
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[PX^_][^\u001b]*(?:\u001b\\)?|[ -/]*[0-~])/g;
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

function clean(text) {
  return text.replace(ESCAPES, "").replace(CONTROLS, "");
}

// Links lead to places of this page only.
function link(to) {
  if (!to.startsWith("#/")) throw new Error("not a place of this page: " + to);
  return to;
}

function place(...parts) {
  return "#/" + parts.map(encodeURIComponent).join("/");
}

// ---- words

const GOOD = ["succeeded", "serving", "ready", "ok", "pass", "promoted", "approved"];
const BAD = ["failed", "error", "lost", "rolled_back", "wedged", "rejected", "fail"];
const BUSY = ["running", "starting", "preparing", "publishing", "canary", "warming", "placed"];
const WARN = ["unknown", "unreachable", "draining", "cordoned", "inconclusive", "waiting_approval"];

function state(word) {
  const kind = GOOD.includes(word) ? "good" : BAD.includes(word) ? "bad"
    : BUSY.includes(word) ? "busy" : WARN.includes(word) ? "warn" : "idle";
  return el("span", { class: "state " + kind }, word);
}

function duration(ms) {
  if (!(ms > 0)) return "";
  const s = Math.round(ms / 1000);
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + (s % 60) + " s";
  if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
  return Math.floor(s / 86400) + " d " + Math.floor((s % 86400) / 3600) + " h";
}

function ago(ms) {
  if (!ms) return "";
  const passed = Date.now() - ms;
  return el("span", { title: new Date(ms).toLocaleString() }, passed < 1500 ? "now" : duration(passed) + " ago");
}

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) { n /= 1024; at += 1; }
  return (at === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)) + " " + units[at];
}

function took(item) {
  return item.started_ms ? duration((item.ended_ms || Date.now()) - item.started_ms) : "";
}

function short(digest) {
  return digest ? el("code", { title: digest }, digest.slice(0, 12)) : "";
}

// ---- building blocks

function table(heads, rows, empty) {
  if (rows.length === 0) return el("div", { class: "card" }, el("p", { class: "muted" }, "\u00a0\u00a0" + empty));
  const head = heads.map((text) => el("th", { class: text.startsWith("#") ? "num" : null }, text.replace("#", "")));
  const body = rows.map((cells) => el("tr", null, cells.map((cell, at) => {
    if (cell instanceof HTMLTableCellElement) return cell;
    return el("td", { class: heads[at].startsWith("#") ? "num" : null }, cell);
  })));
  return el("div", { class: "card" }, el("table", null, el("thead", null, el("tr", null, head)), el("tbody", null, body)));
}

function wide(...children) {
  return el("td", { class: "wide" }, ...children);
}

function facts(pairs) {
  const kept = pairs.filter(([, value]) => value !== "" && value !== undefined && value !== null);
  return el("dl", { class: "facts" }, kept.flatMap(([name, value]) => [el("dt", null, name), el("dd", null, value)]));
}

// What the terminal would say, to copy.
function cli(command) {
  const copy = el("button", { class: "quiet", onclick: () => navigator.clipboard.writeText(command) }, "copy");
  return el("p", { class: "cli" }, el("code", null, command), copy);
}

// ---- asking

class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function ask(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" }, cache: "no-store" });
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, body?.error?.message || "the coordinator answered " + answer.status);
  return body;
}

// ---- views: each gives the nodes to show

const views = {
  async runs() {
    const list = await ask("api/v1/runs?all=true&limit=200");
    const rows = list.items.map((run) => [
      el("a", { href: place("runs", run.name) }, run.name),
      state(run.state),
      el("td", null, el("div", { class: "chips" }, run.stages.map((stage) =>
        el("span", { class: "chip", title: stage.state }, stage.name, " ", state(stage.state))))),
      wide(run.git?.subject || "", run.git?.commit ? el("span", { class: "muted" }, " " + run.git.commit.slice(0, 8)) : ""),
      run.principal,
      ago(run.created_ms),
      took(run),
    ]);
    return [
      el("h1", null, "Runs"), cli("runyard ps -a"),
      table(["Run", "State", "Stages", "Change", "By", "Submitted", "#Took"], rows, "No run yet: runyard run submits one."),
    ];
  },

  async nodes() {
    const list = await ask("api/v1/nodes");
    const cards = list.items.map((node) => el("section", { class: "card node" },
      el("h2", null, node.name, state(node.liveness), node.eligibility === "open" ? "" : state(node.eligibility),
        node.health === "ok" ? "" : el("span", { class: "bad" }, node.health),
        el("small", null, [
          (node.cpu_milli_used / 1000) + " of " + (node.cpu_milli / 1000) + " cores",
          bytes(node.memory_bytes_used) + " of " + bytes(node.memory_bytes),
          node.workers.length + " workers", "runyard " + node.version,
        ].join(" · ")), node.reason ? el("small", null, node.reason) : ""),
      node.devices.length === 0 ? el("p", { class: "muted" }, "\u00a0\u00a0No GPU.") : el("div", { class: "gpus" }, node.devices.map(gpu))));
    return [
      el("h1", null, "Nodes"), cli("runyard nodes ls"),
      cards.length ? cards : table([""], [], "No node yet: runyard token create agent makes a token to join with."),
    ];
  },

  async models() {
    const list = await ask("api/v1/models");
    const rows = list.items.flatMap((model) => model.versions.slice().reverse().map((version) => [
      model.name + " " + version.version,
      el("td", null, el("div", { class: "chips" }, model.aliases.filter((alias) => alias.version === version.version)
        .map((alias) => el("span", { class: "chip" }, alias.name + (alias.protected ? " (protected)" : ""))))),
      version.status,
      version.run ? el("a", { href: place("runs", version.run) }, version.run) : "",
      short(version.commit), short(version.root), ago(version.created_ms),
    ]));
    return [
      el("h1", null, "Models"), cli("runyard models ls"),
      table(["Version", "Aliases", "Status", "Run", "Commit", "Tree", "Registered"], rows, "No model is registered."),
    ];
  },

  async deployments() {
    const list = await ask("api/v1/deployments");
    const parts = list.items.flatMap((own) => [
      el("h2", null, own.name, " ", state(own.state)),
      el("p", { class: "muted" }, own.model, own.alias ? "@" + own.alias : "", " ", el("span", { class: "mono" }, own.addresses.join("  "))),
      table(["Revision", "State", "#Model version", "#Traffic", "#Requests", "#Errors", "Replicas", "Run", "Created", ""],
        own.revisions.slice().reverse().slice(0, 20).map((revision) => [
          el("b", null, revision.number), state(revision.state), revision.model_version,
          (revision.weight_permille / 10) + " %", revision.requests, revision.errors,
          revision.replicas.map((one) => one.node + (one.ready ? "" : " (" + one.state + ")")).join(", "),
          revision.run ? el("a", { href: place("runs", revision.run) }, revision.run) : "",
          ago(revision.created_ms), wide(revision.reason),
        ]), "No revision."),
    ]);
    return [
      el("h1", null, "Deployments"), cli("runyard deploy ls"),
      parts.length ? parts : table([""], [], "Nothing is deployed: a pipeline's deploy stage does it."),
    ];
  },

  async events() {
    const list = await ask("api/v1/events?last=" + EVENTS_SHOWN);
    return [el("h1", null, "Events"), cli("runyard events"), eventTable(list.items)];
  },
};

async function runView(name) {
  const [run, events] = await Promise.all([
    ask("api/v1/runs/" + encodeURIComponent(name)),
    ask("api/v1/events?last=50&subject=" + encodeURIComponent(name)).catch(() => ({ items: [] })),
  ]);
  const rows = run.stages.flatMap((stage) => (stage.tasks.length ? stage.tasks : [null]).map((task) => {
    const last = task?.attempts.at(-1);
    const metrics = Object.entries(task?.metrics || {}).map(([key, value]) =>
      el("span", { class: "chip" }, key + " ", el("b", null, Number(value.toPrecision(5)))));
    return [
      task ? task.key.split("/").slice(1).join("/") + (task.label ? " (" + task.label + ")" : "") : stage.name,
      state(task ? task.state : stage.state),
      last ? last.workers.map((worker) => worker.node).join(", ") : "",
      task ? took(task) : "",
      wide(task?.cached ? el("span", { class: "chip", title: task.cache_reason }, "cached") : "",
        task?.reason || last?.reason || stage.reason || "", el("div", { class: "chips" }, metrics)),
      el("td", null, (last?.workers || []).map((worker, rank) =>
        el("a", { href: place("logs", worker.key) }, last.workers.length > 1 ? "log " + rank + " " : "log"))),
    ];
  }));
  return [
    el("h1", null, run.name, " ", state(run.state)), cli("runyard describe " + run.name),
    facts([
      ["Change", [run.git?.subject || "", run.git?.dirty ? " (with uncommitted changes)" : ""].join("")],
      ["Commit", run.git?.commit ? el("code", null, run.git.commit) : ""],
      ["Branch", run.git?.branch], ["Submitted", el("span", null, "by ", run.principal, ", ", ago(run.created_ms))],
      ["Took", took(run)], ["GPU time", duration(run.device_ms)], ["CPU time", duration(run.cpu_ms)],
      ["Parameters", Object.entries(run.params).map(([key, value]) => key + "=" + value).join("  ")],
      ["Reason", run.reason],
    ]),
    table(["Task", "State", "Node", "#Took", "", ""], rows, "It has no task."),
    el("h2", null, "Events"), eventTable(events.items),
  ];
}

function gpu(device) {
  const last = device.last;
  const sick = device.health !== "ok";
  const used = last && last.memory_used_bytes !== undefined && last.memory_used_bytes !== null ? last.memory_used_bytes : null;
  const use = last && typeof last.utilization_ratio === "number" ? Math.round(last.utilization_ratio * 100) + " %" : "";
  const heat = last && typeof last.temperature_celsius === "number" ? Math.round(last.temperature_celsius) + " °C" : "";
  const power = last && typeof last.power_watts === "number" ? Math.round(last.power_watts) + " W" : "";
  return el("div", { class: "gpu" + (sick ? " sick" : device.held_by ? " held" : ""), title: device.uuid },
    el("div", null, el("b", null, device.index), " ", device.model, device.simulated ? " (simulated)" : ""),
    used === null ? el("div", { class: "muted" }, bytes(device.memory_bytes))
      : [el("meter", { max: device.memory_bytes, value: used }), el("div", { class: "muted" }, bytes(used) + " of " + bytes(device.memory_bytes))],
    el("div", { class: "muted" }, [use, heat, power].filter(Boolean).join(" · ")),
    sick ? el("div", { class: "bad" }, device.health) : device.held_by
      ? el("a", { href: place("logs", device.held_by) }, device.held_by) : el("span", { class: "muted" }, "free"));
}

function eventTable(items) {
  const rows = items.slice().reverse().map((event) => [
    ago(event.at_ms), event.attributes.run
      ? el("a", { href: place("runs", event.attributes.run) }, event.subject) : event.subject, event.kind, wide(event.message),
  ]);
  return table(["When", "Subject", "Kind", "What happened"], rows, "Nothing has happened yet.");
}

// ---- logs

let openLog = null;

function showLog(target) {
  const log = el("pre", { class: "card log" });
  const follow = el("input");
  follow.type = "checkbox";
  follow.checked = true;
  const word = el("span", { class: "muted" }, "connecting …");
  let tail = "";
  let lines = [];
  let lost = 0;
  let drawing = false;

  const draw = () => {
    drawing = false;
    const notes = lost > 0 ? [el("div", { class: "note" }, lost + " earlier lines are not shown: runyard logs " + target)] : [];
    log.replaceChildren(...notes, ...lines.map((line) => el("div", { class: line.kind }, line.text || "\u00a0")), el("div", null, tail));
    if (follow.checked) log.scrollTop = log.scrollHeight;
  };
  const push = (kind, text) => {
    lines.push({ kind, text });
    if (lines.length > LOG_LINES_MAX) { lost += lines.length - LOG_LINES_MAX; lines = lines.slice(-LOG_LINES_MAX); }
  };
  const take = (record) => {
    if (record.cut_bytes > 0) push("note", record.cut_bytes + " bytes were cut here");
    const parts = (tail + record.text).replace(/\r\n/g, "\n").split("\n");
    tail = parts.pop();
    for (const part of parts) push(record.stderr ? "err" : null, part.slice(part.lastIndexOf("\r") + 1));
    tail = tail.slice(tail.lastIndexOf("\r", tail.length - 2) + 1);
    if ((record.end && tail) || tail.length > LINE_CHARS_MAX) { push(null, tail); tail = ""; }
    if (!drawing) { drawing = true; requestAnimationFrame(draw); }
  };

  const path = "api/v1/logs/" + target.split("/").map(encodeURIComponent).join("/") + "?follow=true&tail=" + LOG_LINES_MAX;
  const source = new EventSource(path);
  openLog = source;
  source.addEventListener("open", () => { word.textContent = "following"; });
  source.addEventListener("record", (message) => take(JSON.parse(message.data)));
  source.addEventListener("end", () => { source.close(); word.textContent = "complete"; });
  source.addEventListener("failed", (message) => { source.close(); word.textContent = JSON.parse(message.data).message; });
  source.addEventListener("error", () => {
    word.textContent = source.readyState === EventSource.CLOSED ? "there is no such log, or you are logged out" : "reconnecting …";
  });
  const run = target.split("/")[0];
  main.replaceChildren(el("h1", null, el("a", { href: place("runs", run) }, run), target.slice(run.length)),
    cli("runyard logs -f " + target),
    el("div", { class: "bar" }, el("label", null, follow, " follow"), word), log);
}

// ---- showing

let shown = 0;

function here() {
  const [view, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  return [view || "runs", rest.join("/")];
}

async function show() {
  const turn = ++shown;
  const [view, name] = here();
  for (const item of document.querySelectorAll("nav a")) item.classList.toggle("here", item.getAttribute("href") === "#/" + view);
  document.title = (name || view) + " · Runyard";
  if (openLog) { openLog.close(); openLog = null; }
  try {
    if (view === "logs") { showLog(name); return; }
    const make = view === "runs" && name ? runView : Object.hasOwn(views, view) ? views[view] : views.runs;
    const parts = await make(name);
    if (turn === shown) main.replaceChildren(...parts.flat());
  } catch (error) {
    if (turn !== shown) return;
    if (error.status === 401) { loggedOut(); return; }
    main.replaceChildren(el("p", { class: "bad" }, error.message));
  }
}

// ---- the present

const live = document.getElementById("live");
let watching = null;
let refreshing = null;

function refreshSoon() {
  if (refreshing || here()[0] === "logs" || document.hidden) return;
  refreshing = setTimeout(() => { refreshing = null; show(); }, 1000);
}

function watch() {
  if (watching) watching.close();
  watching = new EventSource("api/v1/events/stream");
  watching.addEventListener("open", () => { live.classList.add("on"); live.textContent = "live"; });
  watching.addEventListener("event", refreshSoon);
  watching.addEventListener("failed", () => { watching.close(); setTimeout(() => { watch(); refreshSoon(); }, 2000); });
  watching.addEventListener("end", () => { watching.close(); setTimeout(watch, 2000); });
  watching.addEventListener("error", () => {
    live.classList.remove("on");
    live.textContent = "reconnecting";
    if (watching.readyState === EventSource.CLOSED) setTimeout(start, 3000);
  });
}

// ---- who

const login = document.getElementById("login");
const loggedIn = ["nav", "live", "logout"].map((id) => document.getElementById(id));

function loggedOut() {
  if (watching) { watching.close(); watching = null; }
  for (const part of loggedIn) part.hidden = true;
  main.hidden = true;
  login.hidden = false;
  document.getElementById("footer").textContent = "";
  document.getElementById("token").focus();
}

async function start() {
  try {
    const group = await ask("api/v1/status");
    login.hidden = true;
    main.hidden = false;
    for (const part of loggedIn) part.hidden = false;
    document.getElementById("footer").textContent =
      "Runyard " + group.version + " · group " + group.group + " · " + group.role + ", term " + group.term +
      ", index " + group.applied_index + " · " + group.principal;
    watch();
    await show();
  } catch (error) {
    if (error.status === 401) { loggedOut(); return; }
    live.hidden = false;
    live.classList.remove("on");
    live.textContent = "the coordinator does not answer";
    setTimeout(start, 3000);
  }
}

login.addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = document.getElementById("token");
  const said = document.getElementById("login-error");
  said.textContent = "";
  const answer = await fetch("login", {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ token: field.value }),
  }).catch(() => null);
  field.value = "";
  if (answer?.ok) { start(); return; }
  const body = await answer?.json().catch(() => null);
  said.textContent = body?.error?.message || "the coordinator does not answer";
});

document.getElementById("logout").addEventListener("click", async () => {
  await fetch("logout", { method: "POST" }).catch(() => null);
  loggedOut();
});

window.addEventListener("hashchange", show);
document.addEventListener("visibilitychange", refreshSoon);
// Samples of devices are not events.
setInterval(() => { if (here()[0] === "nodes" && login.hidden) refreshSoon(); }, 5000);
start();
