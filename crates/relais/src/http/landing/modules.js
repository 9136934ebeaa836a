// The modules that somebody sees, as they are now, and for administrators the server in numbers.
import {
  $, T, access, askSignIn, fill, make, offerLogout, order, pair, pause, read, showLink, showProblem, speak, together,
  told, when,
} from "./shared.js";

const PAGE = 100;

speak({
  online: "en ligne", away: "hors ligne", never: "jamais", range: (a, b, n) => `${a} à ${b} sur ${n}`,
  noneSuch: "Aucun module ne correspond.", noModules: "Aucun module : « relais module add » en ajoute un.",
  modules: "Modules", present: "En ligne", usersOnline: "Utilisateurs connectés", users: "Utilisateurs",
  connections: "Connexions", devices: "Appareils connectés", refused: (text, at) => `Refusé le ${at} : ${text}`,
  connections_replaced: (n) => `${n} connexions de ce module se sont coupées l'une l'autre en une minute : deux appareils ` +
    "présentent peut-être son mot de passe ; donnez-en un autre à l'un d'eux.",
}, {
  skip: "Skip to content", logout: "Sign out", filesPage: "Files", now: "Right now", find: "Search", presence: "State",
  all: "all", name: "Name", seen: "Seen", values: "Values", previous: "Previous", next: "Next",
  online: "online", away: "offline", never: "never", range: (a, b, n) => `${a} to ${b} of ${n}`,
  noneSuch: "No module matches.", noModules: "No modules yet: “relais module add” adds one.",
  modules: "Modules", present: "Online", usersOnline: "Users online", users: "Users", connections: "Connections",
  devices: "Devices connected", refused: (text, at) => `Refused ${at}: ${text}`,
});

// What is told of a module's state. Anything else that a device says is about something else, whatever it is called.
const STATE = /^(rt_module_(online|offline|updated|last_seen_updated)|module_trouble|rt_telemetry_updated|user:module:(updated|online|offline))$/;
const FIELDS = ["name", "type", "online", "lastSeen", "telemetry", "version", "trouble", "lastRefusal"];

const states = new Map();
let version, statistics, socket = null, failures = 0, timer = 0, start = 0;

// ---- The connection ----

/** Who looks: somebody who is signed in, or anybody where the server is open. */
async function whoLooks() {
  try {
    return await read("api/auth/me");
  } catch (error) {
    if (error.status !== 401 || access.key) throw error;
    await read("api/v1/module-states");
    return { open: true };
  }
}

async function connect() {
  clearTimeout(timer);
  try {
    const me = await whoLooks();
    showProblem("");
    listen(me);
  } catch (error) {
    if (error.status === 401 || error.status === 403) {
      return askSignIn(error.status === 403 || access.key ? error.message : "", connect);
    }
    again(error.message);
  }
}

function again(text) {
  const wait = pause(failures++);
  showLink("waiting", navigator.onLine ? T.retry(Math.ceil(wait / 1000)) : T.offline);
  if (text) showProblem(text);
  timer = setTimeout(connect, wait);
}

function leave() {
  clearTimeout(timer);
  const old = socket;
  socket = null;
  old?.close();
}

/** Listens first, then asks for what changed since: what comes in between is older or the same. */
function listen(me) {
  const url = new URL("api/v1/ws", document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  if (access.key) url.searchParams.set("token", access.key);
  showLink("connecting", T.connecting);
  const mine = socket = new WebSocket(url);
  // A key that sees modules is an administrator's.
  const isAdmin = !me.open && (me.user?.admin || !me.user), all = ["module:*", "telemetry-1s:*"];
  const channels = isAdmin ? ["role:admin", ...all] : me.open ? all : [me.principal, `fleet-1s:${me.principal}`];
  let awaited = channels.length;
  mine.onmessage = ({ data }) => {
    if (mine !== socket) return;
    const frame = JSON.parse(data);
    if (frame.type === "connected") {
      for (const channel of channels) mine.send(JSON.stringify({ type: "subscribe", channel }));
    } else if (frame.type === "subscribed" && --awaited === 0) {
      catchUp(isAdmin).catch(() => mine.close());
    } else if (frame.type === "event") {
      take(frame.name, frame.data);
    } else if (frame.type === "error") {
      showProblem(told(frame, "api/v1"));
    }
  };
  mine.onclose = () => { if (mine === socket) again(); };
}

async function catchUp(isAdmin) {
  const snapshot = await read(`api/v1/module-states${version === undefined ? "" : `?version=${version}`}`);
  if (snapshot.full) states.clear();
  for (const id of snapshot.removed) states.delete(id);
  for (const [id, state] of Object.entries(snapshot.states)) states.set(id, state);
  version = snapshot.version;
  if (isAdmin) statistics = await read("api/v1/statistics");
  failures = 0;
  showLink("live", T.live);
  $("content").hidden = false;
  draw();
}

function take(name, data) {
  const id = data.moduleId;
  if (name === "rt_global_stats_updated") statistics = data.stats;
  else if (/module[_:]removed$/.test(name)) states.delete(id);
  else if (/module[_:]added$/.test(name)) {
    if (!states.has(id)) states.set(id, { moduleId: id, telemetry: {}, online: false, version: 0, ...known(data) });
  } else if (STATE.test(name) && states.has(id) && !(data.version < states.get(id).version)) {
    states.set(id, { ...states.get(id), ...known(data) });
  } else return;
  draw();
}

const known = (data) => Object.fromEntries(FIELDS.filter((field) => field in data).map((field) => [field, data[field]]));

// ---- What is on the page ----

/** Several times a second at most, however much comes. */
const draw = together(100, () => {
  const all = [...states.values()];
  drawFigures(all);
  const kinds = [...new Set(all.map(({ type }) => type).filter(Boolean))].sort(order.compare), kind = $("kind").value;
  if (kinds.join() !== [...$("kind").options].slice(1).map(({ value }) => value).join()) {
    $("kind").replaceChildren($("kind").options[0], ...kinds.map((value) => make("option", value, { value })));
    $("kind").value = kinds.includes(kind) ? kind : "";
  }
  const found = all.filter(isWanted).sort((one, other) => order.compare(one.moduleId, other.moduleId));
  start = Math.min(start, Math.floor(Math.max(found.length - 1, 0) / PAGE) * PAGE);
  fill($("modules"), found.slice(start, start + PAGE).map(line));
  const last = Math.min(start + PAGE, found.length);
  $("range").textContent = found.length ? T.range(start + 1, last, found.length) : all.length ? T.noneSuch : T.noModules;
  $("previous").disabled = start === 0;
  $("next").disabled = last === found.length;
});

/** Every word in the id, the name, the type or the values. */
function isWanted({ moduleId, name, type, online, telemetry }) {
  if ($("presence").value && ($("presence").value === "online") !== Boolean(online)) return false;
  if ($("kind").value && $("kind").value !== type) return false;
  const words = $("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = words.length ? [moduleId, name, type, JSON.stringify(telemetry)].join(" ").toLowerCase() : "";
  return words.every((word) => text.includes(word));
}

function drawFigures(all) {
  const figures = [[T.modules, all.length], [T.present, all.filter(({ online }) => online).length]];
  if (statistics) {
    figures.push([T.usersOnline, statistics.users.online], [T.users, statistics.users.total],
      [T.connections, statistics.websocket.connected], [T.devices, statistics.websocket.devices]);
  }
  $("status").replaceChildren(...figures.map(([name, value]) => pair(name, value)));
}

/** What is wrong with a module, for whoever can mend it. */
function complaints({ trouble, lastRefusal }) {
  const said = trouble ? [T[trouble.code]?.(trouble.count) ?? trouble.message] : [];
  if (lastRefusal) said.push(T.refused(lastRefusal.message, when(lastRefusal.at)));
  return said.map((text) => make("p", text, { class: "bad" }));
}

function line(state) {
  const { moduleId, name, type, online, lastSeen, telemetry } = state;
  const values = Object.entries(telemetry ?? {})
    .map(([key, value]) => `${key} ${typeof value === "object" ? JSON.stringify(value) : value}`);
  return make("tr", null, { id: `module-${moduleId}` }, make("th", moduleId, { scope: "row" }), make("td", name ?? ""),
    make("td", type ?? "", { class: "wide" }), make("td", online ? T.online : T.away, { class: online ? "good" : "bad" }),
    make("td", lastSeen ? when(lastSeen) : T.never, { class: "wide" }), make("td", values.join(", "), {}, ...complaints(state)));
}

// ---- What a form has brought about, told once ----

function tellOutcome() {
  const told = new URLSearchParams(location.search);
  if (!told.has("flash")) return;
  $("outcome").textContent = told.get("flash").slice(0, 500);
  $("outcome").className = told.has("error") ? "bad" : "good";
  $("outcome").hidden = false;
  history.replaceState(null, "", location.pathname + location.hash);
}

// ---- What is looked for, which is in the address ----

function remember() {
  const wanted = new URLSearchParams();
  for (const id of ["words", "presence", "kind"]) if ($(id).value) wanted.set(id, $(id).value);
  if (start) wanted.set("start", start);
  history.replaceState(null, "", wanted.size ? `#${wanted}` : location.pathname);
  draw();
}

function recall() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const kind = wanted.get("kind");
  if (kind) $("kind").append(make("option", kind, { value: kind }));
  for (const id of ["words", "presence", "kind"]) $(id).value = wanted.get(id) ?? "";
  start = Number(wanted.get("start")) || 0;
}

function turn(by) {
  start = Math.max(0, start + by * PAGE);
  remember();
}

tellOutcome();
recall();
for (const id of ["words", "presence", "kind"]) $(id).oninput = () => { start = 0; remember(); };
$("find").onsubmit = (submit) => submit.preventDefault();
$("previous").onclick = () => turn(-1);
$("next").onclick = () => turn(1);
offerLogout(leave);
addEventListener("online", () => { if (!socket || socket.readyState > 1) connect(); });
connect();
