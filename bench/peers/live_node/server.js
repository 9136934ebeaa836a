// The seed's system as one would write it with Express, Socket.IO and ws: devices on a WebSocket, a cache of states
// that are compared as JSON, and a room of administrators.
const { createHash, timingSafeEqual } = require("crypto");
const { readFileSync } = require("fs");
const { createServer } = require("http");
const express = require("express");
const { Server } = require("socket.io");
const { WebSocketServer } = require("ws");

const [host, port] = process.argv[2].split(":");
const credentials = JSON.parse(readFileSync(process.argv[3], "utf8"));
const token = readFileSync(process.argv[4], "utf8").trim();
const IDENTIFY_MS = 10_000;
const PING_MS = 25_000;
const ENVELOPE = new Set(["type", "moduleId", "moduleType", "password"]);

const digest = (text) => createHash("sha256").update(text).digest();
const modules = new Map(Object.entries(credentials).map(([id, text]) => [id, { digest: digest(text), socket: null }]));

const app = express();
const server = createServer(app);
// The WebSockets of devices are not Socket.IO's to end.
const io = new Server(server, { serveClient: false, pingInterval: 25_000, pingTimeout: 60_000, destroyUpgrade: false });

const french = new Intl.DateTimeFormat("fr-FR", { dateStyle: "short", timeStyle: "medium" });

/** Tells administrators of modules, and only of what is another than before. */
class ModuleEvents {
  constructor() {
    this.states = new Map();
    this.online = new Set();
  }

  turn(moduleId, online) {
    if (this.online.has(moduleId) === online) return;
    if (online) this.online.add(moduleId);
    else this.online.delete(moduleId);
    const now = new Date();
    io.to("admins").emit(online ? "rt_module_online" : "rt_module_offline", {
      moduleId,
      online,
      lastSeen: now.toISOString(),
      lastSeenFormatted: french.format(now),
    });
  }

  telemetry(moduleId, values) {
    const last = this.states.get(moduleId);
    const telemetry = { ...last, ...values };
    if (JSON.stringify(last) === JSON.stringify(telemetry)) return;
    this.states.set(moduleId, telemetry);
    const now = new Date();
    const timestamp = now.toISOString();
    io.to("admins").emit("rt_telemetry_updated", {
      moduleId,
      telemetry,
      lastSeen: timestamp,
      lastSeenFormatted: french.format(now),
      timestamp,
    });
    const { uptime, position, status } = telemetry;
    io.to("admins").emit("module_telemetry", { moduleId, uptime, position, status, timestamp });
  }
}

const events = new ModuleEvents();

app.get("/modules/api", (request, response) => {
  const list = [...modules.keys()].map((id) => ({ module_id: id, online: events.online.has(id) }));
  response.json({ success: true, modules: list });
});

io.use((socket, next) => {
  const given = digest(String(socket.handshake.auth.token ?? ""));
  next(timingSafeEqual(given, digest(token)) ? undefined : new Error("Authentification requise"));
});
io.on("connection", (socket) => {
  socket.on("register_page", ({ page }) => {
    socket.join("admins");
    socket.join(`page:${page}`);
    socket.emit("page_registered", { page });
  });
  socket.on("request_module_states", () => {
    socket.emit("module_states_sync", { states: Object.fromEntries(events.states), timestamp: new Date().toISOString() });
  });
});

const devices = new WebSocketServer({ noServer: true, maxPayload: 16 * 1024, perMessageDeflate: false });
server.on("upgrade", (request, socket, head) => {
  if (request.url !== "/esp32") return;
  devices.handleUpgrade(request, socket, head, (device) => devices.emit("connection", device));
});

function identify(device, message) {
  const known = modules.get(message.moduleId);
  if (message.type !== "module_identify" || !known || !timingSafeEqual(digest(String(message.password)), known.digest)) {
    device.send(JSON.stringify({ type: "auth_error", message: "Module inconnu" }));
    device.close(1008);
    return null;
  }
  if (known.socket) known.socket.close(1000);
  known.socket = device;
  const { uptime, position } = events.states.get(message.moduleId) ?? {};
  const timestamp = new Date().toISOString();
  const { moduleId } = message;
  const initialState = { uptime, position };
  device.send(JSON.stringify({ type: "connected", status: "authenticated", moduleId, initialState, timestamp }));
  device.send(JSON.stringify({ type: "auth_success", moduleId, timestamp }));
  events.turn(moduleId, true);
  return moduleId;
}

function take(device, moduleId, message) {
  switch (message.type) {
    case "telemetry":
    case "heartbeat": {
      const values = {};
      for (const name in message) if (!ENVELOPE.has(name)) values[name] = message[name];
      events.telemetry(moduleId, values);
      break;
    }
    case "command_response": {
      const { password, ...response } = message;
      io.to("admins").emit("module_command_response", response);
      break;
    }
    default:
      device.send(JSON.stringify({ type: "error", message: `Message de type ${message.type} inconnu` }));
  }
}

devices.on("connection", (device) => {
  let moduleId = null;
  const impatience = setTimeout(() => device.close(1008), IDENTIFY_MS);
  device.isAlive = true;
  device.on("pong", () => {
    device.isAlive = true;
  });
  device.on("error", () => device.terminate());
  device.on("message", (data) => {
    device.isAlive = true;
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return device.close(1003);
    }
    if (moduleId !== null) return take(device, moduleId, message);
    clearTimeout(impatience);
    moduleId = identify(device, message);
  });
  device.on("close", () => {
    clearTimeout(impatience);
    const known = modules.get(moduleId);
    if (known?.socket !== device) return;
    known.socket = null;
    events.turn(moduleId, false);
  });
});

setInterval(() => {
  for (const device of devices.clients) {
    if (!device.isAlive) device.terminate();
    else {
      device.isAlive = false;
      device.ping();
    }
  }
}, PING_MS);

server.listen(Number(port), host);
