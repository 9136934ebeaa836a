// The modules that somebody sees, as they are now, and for administrators the server in numbers.

const SHOWN_MAX = 500;
const RETRY_MS = 1000;
const RETRY_MS_MAX = 15000;

const $ = (id) => document.getElementById(id);
const modules = { version: undefined, states: new Map() };
let statistics;
let retryMs = RETRY_MS;
let drawing = false;

async function get(path) {
  const reply = await fetch(path, { headers: { accept: "application/json" } });
  if (!reply.ok) throw Object.assign(new Error(reply.statusText), { status: reply.status });
  return reply.json();
}

function link(state, text) {
  $("link").className = state;
  $("link").textContent = text;
}

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

/** Listens first, then asks for what changed since: what comes in between is older or the same. */
function listen(me) {
  const socket = new WebSocket(`${location.origin.replace("http", "ws")}/api/v1/ws`);
  const channels = me.user?.admin
    ? ["role:admin", "module:*", "telemetry-1s:*"]
    : [me.principal, `fleet-1s:${me.principal}`];
  let awaited = channels.length;
  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    if (frame.type === "connected") {
      for (const channel of channels) socket.send(JSON.stringify({ type: "subscribe", channel }));
    } else if (frame.type === "subscribed") {
      awaited -= 1;
      if (awaited === 0) catchUp(me).catch(() => socket.close());
    } else if (frame.type === "event") {
      take(frame.name, frame.data);
    } else if (frame.type === "error") {
      problem(frame.message);
    }
  };
  socket.onclose = () => {
    link("", "Connexion perdue, nouvel essai…");
    setTimeout(() => start(), retryMs * (1 + Math.random()) / 2);
    retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
  };
}

async function catchUp(me) {
  const since = modules.version === undefined ? "" : `?version=${modules.version}`;
  const snapshot = await get(`api/v1/module-states${since}`);
  if (snapshot.full) modules.states.clear();
  for (const id of snapshot.removed) modules.states.delete(id);
  for (const [id, state] of Object.entries(snapshot.states)) modules.states.set(id, state);
  modules.version = snapshot.version;
  if (me.user?.admin) statistics = await get("api/v1/statistics");
  retryMs = RETRY_MS;
  link("live", "En direct");
  draw();
}

function take(name, data) {
  const id = data.moduleId;
  if (name === "rt_global_stats_updated") statistics = data.stats;
  else if (/module.removed$/.test(name)) modules.states.delete(id);
  else if (/module.added$/.test(name) && !modules.states.has(id)) {
    modules.states.set(id, { telemetry: {}, online: false, version: 0, ...data });
  } else if (modules.states.has(id) && !(data.version < modules.states.get(id).version)) {
    modules.states.set(id, { ...modules.states.get(id), ...data });
  }
  draw();
}

function element(name, text, className = "") {
  return Object.assign(document.createElement(name), { textContent: text, className });
}

/** At most once for each frame of the screen, however much comes. */
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    drawFigures();
    const all = [...modules.states.values()].sort((one, other) => (one.moduleId < other.moduleId ? -1 : 1));
    $("modules").replaceChildren(...all.slice(0, SHOWN_MAX).map(line));
    $("content").hidden = false;
  });
}

function drawFigures() {
  const all = [...modules.states.values()];
  const figures = [["Modules", all.length], ["En ligne", all.filter(({ online }) => online).length]];
  if (statistics) {
    figures.push(["Utilisateurs connectés", statistics.users.online], ["Utilisateurs", statistics.users.total],
      ["Connexions", statistics.websocket.connected], ["Appareils connectés", statistics.websocket.devices]);
  }
  const shown = figures.map(([name, value]) => {
    const pair = document.createElement("div");
    pair.append(element("dt", name), element("dd", value));
    return pair;
  });
  $("status").replaceChildren(...shown);
}

function line(state) {
  const row = document.createElement("tr");
  row.id = `module-${state.moduleId}`;
  const values = Object.entries(state.telemetry ?? {}).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`);
  const head = element("th", state.moduleId);
  head.scope = "row";
  row.append(head, element("td", state.name ?? ""), element("td", state.type ?? ""),
    element("td", state.online ? "en ligne" : "hors ligne", state.online ? "good" : "bad"),
    element("td", state.lastSeenFormatted ?? "jamais"), element("td", values.join(", ")));
  return row;
}

async function start() {
  try {
    const me = await get("api/auth/me");
    problem("");
    listen(me);
  } catch (error) {
    if (error.status === 401) {
      link("stopped", "");
      return problem("Connectez-vous d'abord sur la page des fichiers, puis revenez ici.");
    }
    link("", "Le serveur ne répond pas, nouvel essai…");
    setTimeout(start, retryMs);
    retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
  }
}

start();
