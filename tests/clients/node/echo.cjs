// socket.io-client against the echo contract: `node echo.cjs URL TRANSPORTS PARSER`. Prints what it found as JSON.
const { Manager } = require("socket.io-client");

const [url, transports, parser] = process.argv.slice(2);
const manager = new Manager(url, {
  transports: transports.split(","),
  reconnectionDelay: 10,
  reconnectionDelayMax: 50,
  ...(parser === "msgpack" && { parser: require("socket.io-msgpack-parser"), query: { parser } }),
});
const found = {};

function once(socket, event) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${event} in time`)), 10000);
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
  found.ack = await root.timeout(5000).emitWithAck("message-with-ack", { ok: true });
  const [file] = [await root.timeout(5000).emitWithAck("message-with-ack", binary)];
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
  // Longer than interval and timeout of the heartbeat: it is answered.
  await new Promise((resolve) => setTimeout(resolve, 1200));
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
