"""What docs/guides/events.md promises: a backend publishes with a key, everybody whom it concerns hears it by
WebSocket, event stream or polling, and whoever comes back gets what was missed."""

import json

import pytest
import requests
from websockets.sync.client import connect

from process import REQUEST_TIMEOUT_S
from town import Town

WAIT_S = 60


@pytest.fixture
def town(make_server):
    town = Town(make_server)
    yield town
    town.close()


class Listener:
    """A client of /api/v1/ws."""

    def __init__(self, town, token):
        self.socket = connect(f"{town.server.url.replace('http', 'ws', 1)}/api/v1/ws", open_timeout=WAIT_S, legacy=True)
        assert self.next()["type"] == "connected"
        self.authenticated = self.ask("authenticate", token=token)

    def next(self):
        return json.loads(self.socket.recv(timeout=WAIT_S))

    def ask(self, kind, **fields):
        self.socket.send(json.dumps({"type": kind} | fields))
        return self.next()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def make_key(town, *scopes):
    arguments = [argument for scope in scopes for argument in ("--scope", scope)]
    return json.loads(town.server.run("--json", "key", "add", "--name", "paie", *arguments))["key"]


def publish(town, key, call, **headers):
    return town.server.post("/api/v1/events", json=call, headers={"Authorization": f"Bearer {key}"} | headers)


def event(topic, name="payslip_ready", **fields):
    return {"topic": topic, "name": name, "data": {"month": "2026-11"}} | fields


def test_a_published_event_is_heard_by_those_it_is_for(town):
    key = make_key(town, "events:publish:*")
    lea = town.person("Lea")
    administrator = town.admin["Authorization"].removeprefix("Bearer ")
    topics = [f"user:{lea.id}", "page:modules", "system", "role:admin", "page:admin"]
    with Listener(town, lea.token) as of_lea, Listener(town, administrator) as of_admin:
        assert of_lea.authenticated == {"type": "authenticated", "principal": f"user:{lea.id}"}
        answers = [of_lea.ask("subscribe", channel=topic).get("code", "subscribed") for topic in topics]
        assert answers == ["subscribed"] * 3 + ["forbidden"] * 2
        answers = [of_admin.ask("subscribe", channel=topic).get("code", "subscribed") for topic in topics]
        assert answers == ["forbidden"] + ["subscribed"] * 4
        published = publish(town, key, {"events": [event(topic) for topic in topics]})
        # The server itself tells administrators who signed in, and how it is.
        places = published.json()["published"]
        assert [place["offset"] for place in places if place["topic"] != "role:admin"] == [1] * 4
        assert [of_lea.next()["topic"] for _ in range(3)] == topics[:3]
        theirs = (frame["topic"] for frame in iter(of_admin.next, None) if frame["name"] == "payslip_ready")
        assert [next(theirs) for _ in range(4)] == topics[1:]


def test_a_call_that_is_sent_again_is_one_event_and_whoever_returns_hears_it_once(town):
    key = make_key(town, "events:publish:flow:*", "events:subscribe:flow:paie")
    with Listener(town, key) as listener:
        cursor = listener.ask("subscribe", channel="flow:paie")["cursor"]
    answers = [publish(town, key, event("flow:paie"), **{"Idempotency-Key": "bulletin"}) for _ in range(3)]
    assert len({answer.text for answer in answers}) == 1 and answers[0].ok
    other = publish(town, key, event("flow:paie", "another"), **{"Idempotency-Key": "bulletin"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_in_use")
    unlike = publish(town, key, event("flow:paie", ephemeral=True), **{"Idempotency-Key": "bulletin"})
    assert unlike.status_code == 409
    with Listener(town, key) as listener:
        joined = listener.ask("subscribe", channel="flow:paie", since=cursor)
        assert (joined["recovered"], joined["replayed"]) == (True, 1)
        heard = listener.next()
        assert (heard["name"], heard["data"]) == ("payslip_ready", {"month": "2026-11"})
    headers = {"Authorization": f"Bearer {key}"}
    polled = town.server.get(f"/api/v1/poll?channel=flow:paie&since={cursor}", headers=headers).json()
    assert [found["offset"] for found in polled["events"]] == [1] and not polled["has_more"]
    with requests.get(f"{town.server.url}/api/v1/events?channel=flow:paie&since={cursor}", headers=headers, stream=True,
                      timeout=REQUEST_TIMEOUT_S) as stream:
        lines = (line for line in stream.iter_lines(decode_unicode=True) if line.startswith("event: "))
        assert [next(lines), next(lines)] == ["event: subscribed", "event: payslip_ready"]


def test_a_connection_is_one_persons(town):
    lea, eve = town.person("Lea"), town.person("Eve")
    with Listener(town, lea.token) as listener:
        assert listener.ask("subscribe", channel=f"user:{lea.id}")["type"] == "subscribed"
        assert listener.ask("authenticate", token=eve.token)["code"] == "other_identity"
        assert listener.ask("authenticate", token=lea.token)["type"] == "authenticated"
        assert listener.ask("subscribe", channel=f"user:{eve.id}")["code"] == "forbidden"


def test_what_may_not_be_published_is_refused(town):
    key = make_key(town, "events:publish:flow:paie")
    for call, status, code in [
        (event("flow:stock"), 403, "forbidden"), (event("societe:rsp-bgs"), 403, "forbidden"),
        (event("conversation:1"), 403, "forbidden"), (event("flow:paie", "disconnect"), 400, "invalid_event"),
        (event("flow:paie", data=[1]), 400, "invalid_event"), ({"events": []}, 400, "invalid_event"),
        (event("flow:paie", data={"x": "y" * 65536}), 400, "invalid_event"), ({"topic": "flow:paie"}, 400, "invalid_body"),
    ]:
        answer = publish(town, key, call)
        assert (answer.status_code, answer.json()["code"]) == (status, code), call
