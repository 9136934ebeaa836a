"""A small client of the relay: send, list, fetch and listen, without losing an event.

    pip install -r requirements.txt
    python relay.py upload rsp-bgs exports/comptes_global_annee_2023.json
    python relay.py list rsp-bgs
    python relay.py download rsp-bgs comptes_global_annee_2023.json
    python relay.py listen rsp-bgs

RELAIS_SERVER names the server (http://127.0.0.1:8000 if unset), RELAIS_KEY a key if it wants one.
"""

import json
import os
import pathlib
import random
import sys
import time
from urllib.parse import quote, urlencode

import requests
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

TIMEOUT_S = (5, 60)
PAUSE_MAX_S = 30


class RelayError(Exception):
    """The server said no. `detail` says why; `line` and `column` say where, for JSON that is not valid."""

    def __init__(self, status, body):
        self.status = status
        self.detail = body.get("detail", "no reason given")
        self.line, self.column = body.get("line"), body.get("column")
        place = f", line {self.line}, column {self.column}" if self.line else ""
        super().__init__(f"{self.detail} ({status}{place})")


class Relay:
    """One server, and the right to use it."""

    def __init__(self, server, key=None):
        self.server = server.rstrip("/")
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = requests.Session()
        self.http.headers.update(self.headers)

    def societes(self):
        return self._call("GET", "societes").json()["societes"]

    def files(self, societe):
        return self._call("GET", "societe", societe, "files").json()["files"]

    def upload(self, societe, path):
        """Sends a file. The same content again changes nothing and tells nobody."""
        path = pathlib.Path(path)
        part = {"file": (path.name, path.read_bytes(), "application/json")}
        return self._call("POST", "upload", societe, files=part).json()

    def download(self, societe, filename, etag=None):
        """The content and its ETag. With the ETag of a copy that is still the present one: none, and the ETag."""
        headers = {"If-None-Match": etag} if etag else {}
        answer = self._call("GET", "download", societe, filename, headers=headers)
        return (None if answer.status_code == 304 else answer.content), answer.headers.get("ETag")

    def delete(self, societe, filename):
        self._call("DELETE", "delete", societe, filename)

    def listen(self, societes=(), cursor=None):
        """Yields `(event, cursor)` for ever, across lost connections.

        Keep the cursor once the event is dealt with. Given to the next `listen`, it continues there: nothing is
        missed and nothing comes twice. An event of type `resync` means that the server no longer knows what
        happened since the cursor: list the files again.
        """
        failures = 0
        while True:
            try:
                with connect(self._socket_address(societes, cursor), additional_headers=self.headers) as socket:
                    for text in socket:
                        failures = 0
                        event = json.loads(text)
                        cursor = event.get("cursor", cursor)
                        if event["type"] != "connection":
                            yield event, cursor
                        elif event.get("recovered") is False:
                            yield {"type": "resync"}, cursor
            except InvalidHandshake as error:
                status = getattr(getattr(error, "response", None), "status_code", 0)
                if 400 <= status < 500 and status != 429:
                    raise RelayError(status, {"detail": "the server refuses to let us listen"}) from error
            except ConnectionClosed as closed:
                if closed.rcvd is not None and closed.rcvd.code in (4001, 4003):
                    raise RelayError(closed.rcvd.code, {"detail": closed.rcvd.reason}) from closed
            except (OSError, TimeoutError):
                pass
            # Chance keeps many clients from coming back in the same moment.
            time.sleep(min(PAUSE_MAX_S, 0.5 * 2**failures) * random.uniform(0.5, 1))
            failures = min(failures + 1, 16)

    def _socket_address(self, societes, cursor):
        query = [("societe", societe) for societe in societes]
        if cursor:
            query.append(("since", cursor))
        return "ws" + self.server.removeprefix("http") + "/api/files/ws?" + urlencode(query)

    def _call(self, method, *path, **options):
        url = self.server + "/api/files/" + "/".join(quote(part, safe="") for part in path)
        answer = self.http.request(method, url, timeout=TIMEOUT_S, **options)
        if answer.ok:
            return answer
        try:
            body = answer.json()
        except ValueError:
            body = {"detail": answer.reason}
        raise RelayError(answer.status_code, body)


def print_events(relay, societes):
    """Prints events and keeps the place in a file, so that the next start continues there."""
    place = pathlib.Path(".relay-cursor")
    cursor = place.read_text().strip() if place.exists() else None
    for event, cursor in relay.listen(societes, cursor):
        if event["type"] == "resync":
            print("too long away: list the files again", flush=True)
        else:
            print(event["type"], event["societe"], event.get("filename", ""), flush=True)
        place.write_text(cursor)


def main(command=None, *arguments):
    relay = Relay(os.environ.get("RELAIS_SERVER", "http://127.0.0.1:8000"), os.environ.get("RELAIS_KEY"))
    if command == "upload" and len(arguments) >= 2:
        for path in arguments[1:]:
            reply = relay.upload(arguments[0], path)
            print("sent" if reply.get("changed", True) else "unchanged", reply["filename"], reply["size"])
    elif command == "list" and not arguments:
        print("\n".join(relay.societes()))
    elif command == "list":
        for file in relay.files(arguments[0]):
            print(file["filename"], file["size"], file["last_modified"])
    elif command == "download" and len(arguments) == 2:
        content, _ = relay.download(*arguments)
        pathlib.Path(pathlib.PurePath(arguments[1]).name).write_bytes(content)
        print("received", arguments[1], len(content))
    elif command == "listen":
        print_events(relay, arguments)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        pass
    except (RelayError, OSError) as error:
        sys.exit(f"relay: {error}")
