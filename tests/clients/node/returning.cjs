// What a page does with the ReconnectionManager: `node returning.cjs '{"url":…,"token":…}'`. Prints a line for each thing
// that it is told, and takes the lines `force` and `leave`.
const readline = require("node:readline");
const { io } = require("socket.io-client");
const ReconnectionManager = require(process.env.RECONNECTION_MANAGER);

const { url, token } = JSON.parse(process.argv[2]);
const window = Object.assign(Object.create(globalThis), {
  addEventListener() {},
  document: { addEventListener() {} },
  navigator: { onLine: true },
  RELAIS_RECONNECT: { maxReconnectAttempts: 1000, reconnectDelay: 20, maxReconnectDelay: 100 },
});

const manager = new ReconnectionManager(() => {
  const socket = io(`${url}/chat`, { auth: { token }, transports: ["websocket"] });
  // The manager was there first: it has told of it when this comes.
  queueMicrotask(() => socket.on("connect", () => console.log("connect")));
  return socket;
}, {}, window);
manager.onReconnect(() => console.log("reconnect"));
manager.onDisconnect(() => console.log("disconnect"));
manager.connect();

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  if (line === "force") window.mc_socketReconnect();
  if (line === "leave") manager.disconnect();
}).on("close", () => process.exit(0));
