// What a page does with the ReconnectionManager: `node returning.cjs '{"url":…,"token":…}'`. Prints a line for each
// thing that it is told, and takes the lines `connect`, `leave` and `force`. Ends with its input.
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

const manager = new ReconnectionManager(() => io(url, { auth: { token } }), {}, window);
manager.onReconnect(() => console.log("reconnect"));
manager.onDisconnect(() => console.log("disconnect"));
manager.onSyncComplete((server, client) => {
  const [known, changed] = [client.states, server.states].map((states) => Object.keys(states).join() || "none");
  console.log(`sync: ${server.full ? "all" : changed} of ${known}`);
});

const socket = manager.connect();
socket.on("connect", () => {
  console.log("connect");
  socket.emit("register_page", { page: "modules" });
});
socket.on("user:module:added", () => console.log("added"));

const commands = { connect: () => manager.connect(), leave: () => manager.disconnect(), force: window.mc_socketReconnect };
readline.createInterface({ input: process.stdin })
  .on("line", (line) => commands[line]())
  .on("close", () => process.exit(0));
