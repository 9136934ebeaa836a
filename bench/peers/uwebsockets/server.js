// uWebSockets.js with its own topics: whatever one client says goes to all. The npm registry has the project itself
// only as rebuilt by others; this is the newest of them that runs on Debian 12.
const uWS = require("@trufflesuite/uws-js-unofficial");

if (!Object.keys(require.cache).some((name) => name.endsWith(".node"))) {
  throw new Error("this Node.js has no compiled uWebSockets; its substitute in JavaScript is not what is measured");
}
const [host, port] = process.argv[2].split(":");
const app = uWS.App();
app.ws("/ws", {
  idleTimeout: 120,
  open: (ws) => ws.subscribe("all"),
  message: (ws, message, isBinary) => app.publish("all", message, isBinary),
});
app.listen(host, Number(port), (listening) => {
  if (!listening) process.exit(1);
});
