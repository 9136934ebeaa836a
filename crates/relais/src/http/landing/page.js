// The live page: sociétés, their files, what happens to them.
import {
  $, T, access, askSignIn as ask, bytes, call, fill, make, offerLogout, order, pair, pause, read, showLink, showProblem,
  speak, together, when,
} from "./shared.js";
import { closeFile, downloadLink, fileAt, fileChanged, openFile } from "./file.js";

const EVENTS_MAX = 200, ROWS_MAX = 300, LISTED_MAX = 100;

const fr = {
  state: "État", ready: "prêt", no_data: "aucune donnée", fileCount: "Fichiers", listeners: "Écoutes en direct",
  updated: "Dernier changement", filesOf: (s) => `Fichiers de ${s}`, more: (n) => `${n} autres : filtrez pour les voir.`,
  noFiles: "Aucun fichier.", open: (f) => `${f} : aperçu et versions`, download: (f) => `Télécharger ${f}`,
  count: (n) => `${n} fichier${n > 1 ? "s" : ""}`,
  file_uploaded: "reçu", file_deleted: "supprimé", sync_completed: "synchronisée", newCount: (n) => `${n} événements`,
  sending: "envoi…", sent: "envoyé", same: "inchangé", noTarget: "Indiquez d'abord une société.",
};
speak(fr, {
  skip: "Skip to content", reconnect: "Reconnect", logout: "Sign out", modules: "Modules",
  status: "Server status", empty: "No files yet",
  first: "Send sample accounting exports for three sociétés:", second: "or a file of your own:",
  third: "or drop a .json file into the frame below.", files: "Files", pick: "Choose files…", drop: "or drop them here",
  filter: "Filter", name: "Name", year: "Year", size: "Size", time: "Modified", events: "Live events",
  none: "Nothing since the page was opened.", close: "Close", versions: "Versions",
  state: "State", ready: "ready", no_data: "no data", fileCount: "Files", listeners: "Live listeners",
  updated: "Last change", filesOf: (s) => `Files of ${s}`, more: (n) => `${n} more: filter to see them.`,
  noFiles: "No files.", open: (f) => `${f}: preview and versions`, download: (f) => `Download ${f}`,
  count: (n) => `${n} file${n === 1 ? "" : "s"}`,
  file_uploaded: "received", file_deleted: "deleted", sync_completed: "synchronised", newCount: (n) => `${n} events`,
  sending: "sending…", sent: "sent", same: "unchanged", noTarget: "Name a société first.",
});

let chosen = null, cursor = null;
let societes = new Map(); // name → { files, asOf, loading, pending }
let generation = 0; // what was asked before the last refresh is stale
let socket = null, sse = false, failures = 0, openedAt = 0, timer = 0, stopped = false;

const at = (...parts) => `api/files/${parts.map(encodeURIComponent).join("/")}`;

function report(error) {
  if (error.status === 401) return askSignIn(access.key ? error.message : "");
  showProblem(error.message);
}

// ---- What the server has ----

const seqOf = (text) => Number(String(text).split("-").pop()) || 0;

function entry(societe) {
  if (!societes.has(societe)) societes.set(societe, { files: null, asOf: 0, loading: false, pending: [] });
  return societes.get(societe);
}

/** Brings an event into a listing, unless the listing is newer. */
function apply(one, { type, filename, size, timestamp, cursor }) {
  if (seqOf(cursor) <= one.asOf || !filename) return;
  if (type === "file_deleted") return one.files.delete(filename);
  const parts = filename.replace(/\.[^.]*$/, "").split("_"), alone = parts.length < 2 && "unknown";
  one.files.set(filename, {
    filename, size, last_modified: timestamp, type_data: alone || parts[0], annee: alone || parts.at(-1),
  });
}

/** Events that come while the listing is under way wait, and are brought into it afterwards. */
async function list(societe) {
  const one = entry(societe);
  if (one.loading) return;
  one.loading = true;
  const found = await read(at("societe", societe, "files")).catch((error) => {
    if (error.status !== 404) report(error);
    return { files: [] };
  });
  one.files = new Map(found.files.map((file) => [file.filename, file]));
  one.asOf = seqOf(found.cursor);
  one.pending.splice(0).forEach((event) => apply(one, event));
  one.loading = false;
  render();
}

/** Reads everything afresh: at the start, after signing in, and when events are missed for good. */
async function refresh() {
  const mine = ++generation;
  try {
    await showStatus();
    const names = (await read(at("societes"))).societes;
    if (mine !== generation) return;
    report({ message: "" });
    societes = new Map();
    names.forEach(entry);
    chosen = [selected().societe, chosen].find((name) => names.includes(name)) || names[0];
    render();
    if (chosen) await list(chosen);
    showSelected();
    for (const name of names.slice(0, LISTED_MAX)) {
      if (mine === generation && !entry(name).files) await list(name);
    }
  } catch (error) {
    if (mine === generation) report(error);
  }
}

async function showStatus() {
  const found = await read(at("status"));
  const rows = [[T.state, T[found.status]]];
  if (found.status === "ready") {
    rows.push(["Sociétés", found.societes_count], [T.fileCount, found.total_files],
      [T.listeners, found.websocket_connections], [T.updated, when(found.last_update, "short")]);
  }
  $("status").replaceChildren(...rows.map(([name, value]) => pair(name, value)));
}

const refreshStatus = together(1500, () => showStatus().catch(() => {}));

// ---- What is on the page ----

const render = together(60, () => {
  const names = [...societes.keys()].sort(order.compare), focused = document.activeElement.id;
  $("empty").hidden = names.length > 0;
  fill($("known"), names.map((value) => make("option", null, { value })));
  fill($("societes"), names.map(societeItem));
  $("target").value ||= chosen || "";
  $("files-title").textContent = chosen ? T.filesOf(chosen) : $("files-title").textContent;
  const wanted = $("filter").value.toLowerCase(), all = [...(societes.get(chosen)?.files?.values() || [])];
  const files = all.filter((file) => file.filename.toLowerCase().includes(wanted))
    .sort((a, b) => order.compare(a.filename, b.filename));
  fill($("files"), files.slice(0, ROWS_MAX).map(fileRow));
  $("more").hidden = files.length > 0 && files.length <= ROWS_MAX;
  $("more").textContent = files.length ? T.more(files.length - ROWS_MAX) : T.noFiles;
  if (focused && document.activeElement.id !== focused) $(focused)?.focus({ preventScroll: true });
});

function societeItem(name) {
  const item = make("li"), files = societes.get(name).files;
  const button = make("button", null, { type: "button", id: `s/${name}` });
  if (name === chosen) button.setAttribute("aria-current", "true");
  button.append(make("span", name), make("span", files ? T.count(files.size) : "…"));
  button.onclick = () => { location.hash = hashOf(name); };
  item.append(button);
  return item;
}

function fileRow(file) {
  const { filename, type_data, annee, size, last_modified } = file;
  const name = make("td"), get = make("td", null, { class: "number" });
  name.append(make("a", filename, { href: `#${hashOf(chosen, filename)}`, id: `f/${filename}`, "aria-label": T.open(filename) }));
  get.append(downloadLink("⤓", fileAt(chosen, filename), filename, { "aria-label": T.download(filename) }, report));
  return make("tr", null, {}, name, make("td", type_data, { class: "wide" }), make("td", annee, { class: "wide" }),
    make("td", bytes(size), { class: "number" }), make("td", when(last_modified)), get);
}

// ---- The selection, which is in the address ----

const hashOf = (...parts) => parts.map(encodeURIComponent).join("/");

function selected() {
  const [societe, filename] = location.hash.slice(1).split("/").map((part) => {
    try { return decodeURIComponent(part); } catch { return ""; }
  });
  return { societe, filename };
}

/** Shows what the address names, if it is there. */
function showSelected() {
  const { societe, filename } = selected();
  if (societe && societe !== chosen && societes.has(societe)) {
    chosen = $("target").value = societe;
    $("filter").value = "";
    if (!societes.get(societe).files) list(societe).then(showSelected);
  }
  const file = filename && societe === chosen && societes.get(chosen)?.files?.get(filename);
  if (file) openFile(chosen, file, () => { if (selected().filename) history.pushState(null, "", `#${hashOf(chosen)}`); }, report);
  else closeFile();
  render();
}

// ---- Events ----

let news = [];
const announce = together(1500, () => {
  $("news").textContent = news.length > 1 ? T.newCount(news.length) : news[0];
  news = [];
});

function receive(event) {
  cursor = event.cursor || cursor;
  if (event.type === "connection") {
    openedAt = Date.now();
    show("live", T.live + (sse ? " (SSE)" : ""));
    if (event.recovered) refreshStatus();
    else refresh();
  }
  if (!(event.type in fr) || !event.societe) return;
  const one = entry(event.societe);
  chosen ||= event.societe;
  if (one.loading) one.pending.push(event);
  else if (one.files) apply(one, event);
  else list(event.societe);
  fileChanged(event.societe, event.filename);
  const text = `${event.filename || ""} ${T[event.type]}`, size = event.size >= 0 ? `, ${bytes(event.size)}` : "";
  const item = make("li", null);
  item.append(make("time", when(event.timestamp), { datetime: event.timestamp }), ` ${event.societe}`, make("b", text + size));
  $("events").prepend(item);
  if ($("events").children.length > EVENTS_MAX) $("events").lastChild.remove();
  $("none").hidden = true;
  news.push(`${event.societe} : ${text}`);
  announce();
  render();
  refreshStatus();
}

// ---- The connection ----

function show(state, text) {
  showLink(state, text);
  $("reconnect").hidden = state !== "waiting";
}

function disconnect() {
  clearTimeout(timer);
  const old = socket;
  socket = null;
  old?.close();
}

function connect() {
  disconnect();
  openedAt = 0;
  show("connecting", T.connecting);
  const url = new URL(sse ? "api/files/events" : "api/files/ws", document.baseURI);
  if (cursor) url.searchParams.set("since", cursor);
  if (access.key) url.searchParams.set("token", access.key);
  if (!sse) url.protocol = url.protocol.replace("http", "ws");
  const mine = socket = sse ? new EventSource(url) : new WebSocket(url);
  const take = ({ data }) => { if (mine === socket) receive(JSON.parse(data)); };
  const end = ({ code }) => { if (mine === socket) lost(code); };
  if (!sse) return Object.assign(mine, { onmessage: take, onclose: end });
  mine.onerror = end;
  for (const kind of ["connection", "file_uploaded", "file_deleted", "sync_completed"]) mine.addEventListener(kind, take);
}

/** Waits longer after each loss, and at random so that many pages do not return at the same moment. */
function lost(code) {
  disconnect();
  if (code === 4001) return askSignIn("");
  if (code === 4003) return show("stopped", T.forbidden);
  failures = openedAt && Date.now() - openedAt > 10000 ? 0 : failures + 1;
  // A proxy that lets no WebSocket through still lets a plain response through.
  if (!openedAt && failures % 2 === 0) sse = !sse;
  const wait = pause(failures);
  show("waiting", navigator.onLine ? T.retry(Math.ceil(wait / 1000)) : T.offline);
  timer = setTimeout(reconnect, wait);
}

/** A refused connection does not say why, so a plain call asks first. */
async function reconnect() {
  clearTimeout(timer);
  try {
    await showStatus();
    report({ message: "" });
  } catch (error) {
    report(error);
    if (error.status === 401) return;
  }
  connect();
}

// ---- Signing in ----

function askSignIn(message) {
  generation += 1;
  stopped = true;
  disconnect();
  closeFile();
  // Whoever signs in next may be somebody else.
  societes.clear();
  chosen = null;
  for (const id of ["societes", "known", "files", "events", "status", "done"]) $(id).replaceChildren();
  ask(message, () => {
    stopped = false;
    cursor = null;
    connect();
  });
  $("reconnect").hidden = true;
}

// ---- Sending files ----

async function send(files) {
  const societe = $("target").value.trim();
  // Else choosing the same file again would be no change.
  $("pick").value = "";
  $("sent").replaceChildren();
  if (!societe) {
    $("sent").append(make("li", T.noTarget, { class: "bad" }));
    return $("target").focus();
  }
  for (const file of files) {
    const line = make("li", `${file.name} : ${T.sending}`), body = new FormData();
    $("sent").prepend(line);
    body.append("file", file);
    try {
      const done = await (await call(at("upload", societe), { method: "POST", body })).json();
      line.className = "good";
      line.textContent = `${done.filename} : ${done.changed === false ? T.same : T.sent} (${bytes(done.size)})`;
    } catch ({ message, status, body: { errors } }) {
      line.className = "bad";
      const rules = Array.isArray(errors) ? errors.slice(0, 5).map((e) => ` ; ${e.pointer || "/"} ${e.message}`) : [];
      line.textContent = `${file.name} : ${message}${rules.join("")}`;
      if (status === 401) return askSignIn("");
    }
  }
}

function drag(event) {
  event.preventDefault(); // a file that misses the frame does not replace the page
  const inside = $("panel").contains(event.target);
  $("panel").classList.toggle("drag", inside && event.type === "dragover");
  if (inside && event.type === "drop") send([...event.dataTransfer.files]);
}

// ---- Start ----

$("sample").textContent = "relais sample --push";
$("curl").textContent = `curl -F file=@comptes_2026.json ${new URL(at("upload", "ma-societe"), document.baseURI)}`;
offerLogout(disconnect);
$("reconnect").onclick = reconnect;
$("filter").oninput = render;
$("pick").onchange = () => send([...$("pick").files]);
$("upload").onsubmit = (submit) => { submit.preventDefault(); $("pick").click(); };
for (const kind of ["dragover", "dragleave", "drop"]) addEventListener(kind, drag);
addEventListener("online", () => { if (!stopped && !socket) reconnect(); });
// A connection that died without a word shows itself when a plain call fails.
setInterval(() => {
  if (stopped || document.hidden) return;
  showStatus().catch((error) => error.status === 401 ? report(error) : error.status || socket && lost());
}, 30000);
addEventListener("hashchange", showSelected);
reconnect();
