// An application on Express, written as the document of live events has it. The test changes one line of it.
const { EventEmitter } = require("node:events");
const http = require("node:http");
const express = require("express");
const RealTimeAPI = require("./api");

async function main() {
  const app = express();
  const server = http.createServer(app);
  // Stands for the Socket.IO server that such an application has.
  const io = new EventEmitter();
  const realTimeAPI = new RealTimeAPI();
  await realTimeAPI.initialize(io);
  app.locals.realTimeAPI = realTimeAPI;
  app.use(express.json());

  app.post("/login", (req, res) => {
    if (req.app.locals.realTimeAPI) {
      req.app.locals.realTimeAPI.emitUserLoggedIn(req.body.id, req.body);
    }
    res.json({ success: true });
  });

  app.post("/modules", (req, res) => {
    req.app.locals.realTimeAPI.emitModuleAdded(req.body.userId, req.body);
    res.json({ success: true });
  });

  app.post("/modules/:id/:what", (req, res) => {
    const emit = { online: "emitModuleOnline", offline: "emitModuleOffline", telemetry: "emitTelemetryUpdated" };
    req.app.locals.realTimeAPI[emit[req.params.what]](req.params.id, req.body);
    res.json({ success: true });
  });

  app.post("/notify/:userId", (req, res) => {
    req.app.locals.realTimeAPI.eventsManager.emitToUser(req.params.userId, req.body.event, req.body.data);
    res.json({ success: true });
  });

  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
