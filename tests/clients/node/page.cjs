// socket.io-client as the pages of modules use it: `node page.cjs '{"url":…,"transports":[…],"cookie":…,"page":…}'`.
// With each connection it registers its page and asks for the states. Prints what it hears as lines of JSON, and takes
// lines `["say",name,fields]`, `["ask",name,fields]`, `["cut"]` and `["back"]`. Ends with its input.
const readline = require("readline");
const { io } = require("socket.io-client");

const { url, transports, cookie, page, since } = JSON.parse(process.argv[2]);
const socket = io(url, {
  transports,
  upgrade: false,
  auth: since ? { since } : {},
  // A cookie counts on the site's own pages only.
  extraHeaders: cookie ? { cookie, origin: url } : {},
  reconnectionDelay: 20,
  reconnectionDelayMax: 100,
});

function tell(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

socket.on("connect", () => {
  tell({ event: "connect", data: {} });
  if (page) {
    socket.emit("register_page", { page, since });
    socket.emit("request_module_states");
  }
});
socket.on("disconnect", (reason) => tell({ event: "disconnect", data: { reason } }));
socket.on("connect_error", (error) => tell({ event: "connect_error", data: { message: error.message } }));
socket.onAny((event, data) => tell({ event, data }));

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [what, name, fields] = JSON.parse(line);
  if (what === "cut") return socket.disconnect();
  if (what === "back") return socket.connect();
  if (what === "say") return socket.emit(name, fields);
  socket.timeout(5000).emitWithAck(name, fields).then(
    (answer) => tell({ answer }),
    () => tell({ answer: null }),
  );
}).on("close", () => {
  socket.close();
  process.exit(0);
});
