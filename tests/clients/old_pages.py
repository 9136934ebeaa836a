"""The pages of the existing system, served from the same host as the server, as their application's proxy does."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "proxy-connection", "content-length"}

# What the page of modules does: the client library from the server, polling alone, the session cookie, the page registered
# on every connection, forms of HTML.
MODULES_PAGE = """<!doctype html>
<meta charset="utf-8"><title>Modules</title>
<form id="claim" method="post" action="/modules/claim">
  <input name="module_id"><input name="module_code"><input name="name"><button>Ajouter</button>
</form>
<ul id="modules"></ul>
<p id="counts"></p>
<script src="/socket.io/socket.io.js"></script>
<script>
  const states = new Map();
  window.heard = [];
  window.socket = io({ transports: ['polling'], upgrade: false });
  const put = (data) => states.set(data.moduleId, { ...states.get(data.moduleId), ...data });
  const draw = () => {
    const lines = [...states.values()].sort((one, other) => (one.moduleId < other.moduleId ? -1 : 1));
    document.getElementById('modules').replaceChildren(...lines.map((state) => {
      const line = document.createElement('li');
      line.textContent = `${state.moduleId} ${state.name} ${state.online ? 'online' : 'offline'}`;
      return line;
    }));
  };
  socket.onAny((name, data) => { heard.push([name, data]); });
  socket.on('connect', () => {
    socket.emit('register_page', { page: 'modules' });
    socket.emit('request_module_states');
  });
  socket.on('module_states_sync', (data) => { states.clear(); Object.values(data.states).forEach(put); draw(); });
  for (const name of ['user:module:added', 'rt_module_online', 'rt_module_offline', 'module_telemetry']) {
    socket.on(name, (data) => { put(data); draw(); });
  }
  socket.on('user:module:removed', (data) => { states.delete(data.moduleId); draw(); });
  socket.on('simple_stats_update', (data) => {
    document.getElementById('counts').textContent = `${data.modules.online} / ${data.users.online}`;
  });
  window.send = (moduleId, command, params) => socket.emit('send_module_command', { moduleId, command, params });
</script>
"""


class OldHost:
    """A host with the old pages under `/old`; everything else is the server's."""

    def __init__(self, port):
        host = type("Handler", (Handler,), {"server_port": port})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), host)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_port = 0

    def do_GET(self):
        if self.path == "/old/modules":
            return self.reply(200, [("Content-Type", "text/html; charset=utf-8")], MODULES_PAGE.encode())
        return self.forward()

    def do_POST(self):
        return self.forward()

    def forward(self):
        """As a proxy that keeps the name of the host."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        upstream = http.client.HTTPConnection("127.0.0.1", self.server_port, timeout=120)
        try:
            upstream.request(self.command, self.path, body=body or None, headers=headers)
            answer = upstream.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP]
            self.reply(answer.status, kept, answer.read())
        finally:
            upstream.close()

    def reply(self, status, headers, body):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        try:
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:
            # The browser left the page meanwhile.
            self.close_connection = True

    def log_message(self, *_):
        pass
