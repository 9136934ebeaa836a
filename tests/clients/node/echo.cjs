// socket.io-client against the echo contract: `node echo.cjs URL TRANSPORTS PARSER [PINGS]`. Prints what it found as
// JSON; waits for so many pings of the server without a word of its own.
const { Manager } = require("socket.io-client");

const [url, transports, parser, pings = 0] = process.argv.slice(2);
const manager = new Manager(url, {
  transports: transports.split(","),
  reconnectionDelay: 10,
  reconnectionDelayMax: 50,
  ...(parser === "msgpack" && { parser: require("socket.io-msgpack-parser"), query: { parser } }),
});
const found = {};

function once(socket, event) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${event} in time`)), 30000);
    socket.once(event, (...values) => {
      clearTimeout(timer);
      resolve(values);
    });
  });
}

async function back(socket, ...values) {
  const answer = once(socket, "message-back");
  socket.emit("message", ...values);
  return answer;
}

async function main() {
  const root = manager.socket("/", { auth: { token: "123" } });
  const custom = manager.socket("/custom");
  const [auth] = await once(root, "auth");
  found.auth = auth;
  if (!custom.connected) await once(custom, "connect");
  found.ids = [root.id, custom.id];
  found.plain = await back(root, 1, "é😀", { deep: [true, null, 1.5] });
  found.custom = await back(custom, "custom");

  const binary = Buffer.from([0, 1, 254, 255]);
  const echoed = await back(root, { file: binary, name: "x" }, binary);
  found.binary = [[...new Uint8Array(echoed[0].file)], echoed[0].name, [...new Uint8Array(echoed[1])]];
  found.ack = await root.timeout(30000).emitWithAck("message-with-ack", { ok: true });
  const [file] = [await root.timeout(30000).emitWithAck("message-with-ack", binary)];
  found.binaryAck = [...new Uint8Array(file)];

  const unknown = manager.socket("/unknown");
  const [error] = await once(unknown, "connect_error");
  found.unknown = error.message;

  const order = [];
  const last = new Promise((resolve) => {
    root.on("message-back", (i) => {
      order.push(i);
      if (i === 499) resolve();
    });
  });
  for (let i = 0; i < 500; i++) root.emit("message", i);
  await last;
  found.inOrder = order.every((value, i) => value === i) && order.length === 500;
  found.transport = manager.engine.transport.name;
  root.off("message-back");

  const lost = once(root, "disconnect");
  const again = once(root, "connect");
  manager.engine.close();
  found.lost = (await lost)[0];
  await again;
  found.afterReconnect = await back(root, "again");

  custom.disconnect();
  found.afterLeaving = await back(root, "alone");
  found.pings = 0;
  await new Promise((resolve) => {
    manager.on("ping", () => {
      found.pings += 1;
      if (found.pings >= pings) resolve();
    });
    if (pings === 0) resolve();
  });
  found.afterQuiet = await back(root, "alive");
  manager._close();
}

main().then(
  () => {
    console.log(JSON.stringify(found));
    process.exit(0);
  },
  (error) => {
    console.error(error, JSON.stringify(found));
    process.exit(1);
  },
);
