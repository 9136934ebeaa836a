// socket.io-client in the chat: `node chat.cjs '{"url":…,"transports":[…],"how":"auth"|"event","token":…}'`. Prints
// what it hears as lines of JSON, and takes lines `["say",name,fields]` and `["ask",name,fields]`. Ends with its input.
const readline = require("readline");
const { io } = require("socket.io-client");

const { url, transports, how, token } = JSON.parse(process.argv[2]);
let since;
const socket = io(`${url}/chat`, {
  transports,
  auth: how === "auth" ? { token, recovery: true } : {},
  reconnectionDelay: 20,
  reconnectionDelayMax: 100,
});

function tell(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

socket.on("connect", () => {
  tell({ event: "connect", data: { recovered: socket.recovered } });
  if (how === "event") socket.emit("authenticate", { token, since });
});
socket.on("disconnect", (reason) => tell({ event: "disconnect", data: { reason } }));
socket.on("connect_error", (error) => tell({ event: "connect_error", data: { message: error.message, ...error.data } }));
socket.io.engine.on("upgrade", (transport) => tell({ event: "upgrade", data: { transport: transport.name } }));
socket.onAny((event, data) => {
  since = data.cursor ?? since;
  tell({ event, data });
});

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [what, name, fields] = JSON.parse(line);
  if (what === "say") return socket.emit(name, fields);
  socket.timeout(2000).emitWithAck(name, fields).then(
    (answer) => tell({ answer }),
    () => tell({ answer: null }),
  );
}).on("close", () => {
  socket.close();
  process.exit(0);
});
