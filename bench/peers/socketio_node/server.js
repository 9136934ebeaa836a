// Socket.IO as its guide shows it: whatever one client says goes to all.
const { createServer } = require("http");
const { Server } = require("socket.io");

const [host, port] = process.argv[2].split(":");
const server = createServer();
const io = new Server(server, { serveClient: false });
io.on("connection", (socket) => {
  socket.on("message", (message) => io.emit("message", message));
});
server.listen(Number(port), host);
