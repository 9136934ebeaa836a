"""Listeners: the relay's WebSocket, its event stream and its change feed, each resumable by cursor."""

import json

import requests
from websockets.sync.client import connect

WAIT_S = 60
EVENTS = ("file_uploaded", "file_deleted", "sync_completed")


def query(since=None, societes=(), token=None):
    """Parameters of every way to listen."""
    pairs = [("since", since), *(("societe", name) for name in societes), ("token", token)]
    return [(name, value) for name, value in pairs if value is not None]


class SocketListener:
    """A client of `/api/files/ws`."""

    def __init__(self, server, headers=None, **options):
        address = requests.Request("GET", "http://h", params=query(**options)).prepare().url
        url = f"{server.ws_url}?{address.partition('?')[2]}"
        self.context = connect(url, max_size=None, open_timeout=WAIT_S, additional_headers=headers)
        self.socket = self.context.__enter__()
        self.welcome = self.frame()
        self.cursor = self.welcome["cursor"]

    def frame(self, timeout_s=WAIT_S):
        frame = json.loads(self.socket.recv(timeout=timeout_s))
        self.cursor = frame.get("cursor", getattr(self, "cursor", None))
        return frame

    def close(self):
        self.context.__exit__(None, None, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class StreamListener:
    """A client of `/api/files/events`, which resumes as a browser's EventSource does."""

    def __init__(self, server, since=None, headers=None, **options):
        headers = {"Accept": "text/event-stream"} | (headers or {}) | ({"Last-Event-ID": since} if since else {})
        self.response = requests.get(f"{server.url}/api/files/events", params=query(**options), headers=headers,
                                     stream=True, timeout=WAIT_S)
        assert self.response.status_code == 200, self.response.text
        self.lines = self.response.iter_lines(chunk_size=1)
        self.welcome = self.frame()

    def frame(self):
        fields = {}
        for line in self.lines:
            if not line and "data" in fields:
                self.cursor = fields.get("id", getattr(self, "cursor", None))
                frame = json.loads(fields["data"])
                assert fields["event"] == frame["type"], fields
                return frame
            name, _, value = line.decode().partition(":")
            fields[name] = value.removeprefix(" ")
        raise ConnectionError("the event stream ended")

    def close(self):
        self.response.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def changes(server, since=None, limit=None, path="/api/files/changes", **options):
    """Everything in the change feed after `since`, page by page, and the cursor to go on from."""
    found, more = [], True
    while more:
        params = query(since=since) + ([("limit", limit)] if limit else [])
        response = server.get(path, params=params, **options)
        assert response.status_code == 200, response.text
        page = response.json()
        found += page["changes"]
        since, more = page["cursor"], page["has_more"]
    return found, since
