"""Modules in the field and the pages that show them: a device on its WebSocket, a page on `socket.io-client`."""

import json
from contextlib import ExitStack

import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from chat import WAIT_S, ScriptedClient
from process import eventually
from town import ADMIN_EMAIL, PASSWORD, Town


class Device:
    """A device as the firmware behaves: it says which it is, and repeats it with every message."""

    def __init__(self, url, module_id, credential):
        self.who = {"moduleId": module_id, "password": credential}
        self.socket = ExitStack().enter_context(connect(url.replace("http", "ws") + "/esp32", max_size=None))

    def say(self, kind, **fields):
        self.socket.send(json.dumps({"type": kind, **self.who, **fields}))

    def hear(self, kind):
        """The next message of that type."""
        while True:
            message = json.loads(self.socket.recv(timeout=WAIT_S))
            if message["type"] == kind:
                return message

    def identify(self, **fields):
        self.say("module_identify", moduleType="Station", uptime=0, position="0", **fields)
        self.hear("connected")
        self.hear("auth_success")
        return self

    def close_code(self):
        """The code with which the server ends it."""
        try:
            while True:
                self.socket.recv(timeout=WAIT_S)
        except ConnectionClosed as closed:
            return closed.rcvd.code

    def cut(self):
        """The network is gone: no goodbye."""
        self.socket.socket.close()


class Page(ScriptedClient):
    """A page with a session cookie or without; `since` is the last event that it has seen."""

    def __init__(self, url, page, transports=("polling",), cookie=None, since=None):
        super().__init__(None, url, "page.cjs", page=page, transports=transports, cookie=cookie, since=since)

    def is_open(self):
        """Waits until it shows something."""
        self.hear("module_states_sync")
        return self

    def hear_of(self, name, module_id, wanted=lambda _: True):
        """Waits for an event about a module for which `wanted` is true."""
        def found():
            return next((data for data in self.all(name) if data["moduleId"] == module_id and wanted(data)), None)
        return eventually(found, f"{name} of {module_id}; it heard {[heard for heard, _ in self.heard]}", WAIT_S)


class Field(Town):
    """A server, its people, their modules and their pages."""

    def cookie_of(self, email):
        reply = requests.post(f"{self.server.url}/api/connexion", json={"email": email, "password": PASSWORD})
        assert reply.ok, reply.text
        return f"relais_session={reply.cookies['relais_session']}"

    def page(self, person, page, transports=("polling",), since=None):
        """A page of somebody who is signed in; of the administrator for None."""
        email = person.email if person else ADMIN_EMAIL
        return self.client(Page, self.server.url, page, transports, self.cookie_of(email), since)

    def module(self, module_id, owner=None, **fields):
        """Adds a module; its credential."""
        new = {"id": module_id, "owner": owner.email if owner else None, **fields}
        reply = self.server.post("/api/v1/modules", json=new, headers=self.admin)
        assert reply.status_code == 201, reply.text
        return reply.json()["credential"]

    def device(self, module_id, credential):
        return Device(self.server.url, module_id, credential).identify()

    def rotated(self, module_id):
        """Another credential for a module."""
        reply = self.server.post(f"/api/v1/modules/{module_id}/credential", headers=self.admin)
        assert reply.ok, reply.text
        return reply.json()["credential"]
