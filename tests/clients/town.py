"""A server with people who talk."""

import uuid

from chat import PlainClient

ADMIN_EMAIL, PASSWORD = "admin@example.com", "un mot de passe assez long"


class Person:
    """Somebody with an account, signed in."""

    def __init__(self, server, id, email):
        self.server, self.id, self.email, self.password = server, id, email, PASSWORD
        reply = server.post("/api/connexion", json={"email": email, "password": PASSWORD})
        assert reply.status_code == 200 and reply.json()["user"]["id"] == id, reply.text
        self.token = reply.json()["token"]
        self.headers = {"Authorization": f"Bearer {self.token}"}

    def call(self, method, path, base="/api/admin/chat", **options):
        return self.server.call(method, f"{base}/{path}", headers=self.headers, **options)

    def get(self, path, **options):
        """The data of a call that succeeds."""
        return self.done(self.call("GET", path, **options))

    def post(self, path, body, **options):
        return self.done(self.call("POST", path, json=body, **options))

    def put(self, path, body, **options):
        return self.done(self.call("PUT", path, json=body, **options))

    @staticmethod
    def done(reply):
        assert reply.ok and reply.json()["success"] is True, reply.text
        return reply.json()["data"]

    def write(self, conversation_id, content):
        return self.post(f"conversations/{conversation_id}/messages", {"content": content})["message"]


class Town:
    """The server and its people."""

    def __init__(self, make_server, **settings):
        settings = {"RELAIS_AUTH_MODE": "required", "RELAIS_ADMIN_EMAIL": ADMIN_EMAIL,
                    "RELAIS_ADMIN_PASSWORD": PASSWORD} | settings
        self.server = make_server(**settings)
        signed_in = self.server.post("/api/connexion", json={"email": ADMIN_EMAIL, "password": PASSWORD}).json()
        self.admin = {"Authorization": f"Bearer {signed_in['token']}"}
        self.clients = []

    def person(self, name, **more):
        email = f"{name.lower()}.{uuid.uuid4().hex[:8]}@example.com"
        user = {"email": email, "password": PASSWORD, "firstname": name, "lastname": "Martin"} | more
        made = self.server.post("/api/v1/users", json=user, headers=self.admin)
        assert made.status_code == 201, made.text
        return Person(self.server, made.json()["id"], email)

    def friends(self):
        """Two people and their conversation."""
        one, other = self.person("Lea"), self.person("Paul")
        return one, other, self.befriend(one, other)

    def befriend(self, one, other):
        asked = one.post("invitations", {"to_user_id": other.id})["invitation_id"]
        return other.put(f"invitations/{asked}/respond", {"action": "accept"})["conversation_id"]

    def client(self, kind, *arguments):
        """A client that is closed in the end."""
        self.clients.append(kind(*arguments))
        return self.clients[-1]

    def close(self):
        for client in self.clients:
            client.close()

    def still_serves(self):
        """People who have nothing to do with what happened talk as ever."""
        one, other, conversation_id = self.friends()
        speaker = self.client(PlainClient, one, self.server.url).is_in()
        listener = self.client(PlainClient, other, self.server.url).is_in()
        speaker.send(conversation_id, "tout va bien")
        listener.hear("new_message")
        assert listener.messages() == ["tout va bien"]
