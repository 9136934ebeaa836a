"""A hundred thousand connections that break the rules or just vanish: each is answered as documented, and nothing of
them stays."""

import asyncio
import contextlib

import pytest

from process import assert_nothing_stays, eventually, metric
from town import Town

# So that a connection whose client vanished without a word is given up soon, and no other, however busy the computer is.
IMPATIENT = {"RELAIS_HUB_PING_INTERVAL_S": "5", "RELAIS_HUB_IDLE_TIMEOUT_S": "10",
             "RELAIS_HUB_AUTHENTICATE_TIMEOUT_S": "10", "RELAIS_SOCKETIO_CONNECT_TIMEOUT_S": "10",
             # Those who have vanished still have a place until then.
             "RELAIS_HUB_ANONYMOUS_PER_ADDRESS_MAX": "0"}
ROUND = 50_000
AT_ONCE = 100
# A hundred bytes left of each connection would be more.
SLACK_KB = 4096
WAIT_S = 60

KEY = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" \
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
SOCKETIO = "/socket.io/?EIO=4&transport="


def frame(opcode, payload):
    """A client's frame, masked with zeros."""
    length = len(payload)
    head = bytes([0x80 | opcode]) + (bytes([0x80 | length]) if length < 126 else b"\xfe" + length.to_bytes(2))
    return head + bytes(4) + payload


def closes(code):
    """What a close frame with this code has in it."""
    return code.to_bytes(2)


class Caller:
    """One TCP connection to the server."""

    def __init__(self, port):
        self.port = port

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_):
        # With a reset, as a program that is killed while something waits for it.
        self.writer.transport.abort()

    def ask(self, method, path, headers="", body=b""):
        self.writer.write(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n".encode() + body)

    def say(self, *frames):
        self.writer.write(b"".join(frames))

    async def hears(self, answer):
        """Reads up to this answer."""
        try:
            return await asyncio.wait_for(self.reader.readuntil(answer), WAIT_S)
        except asyncio.IncompleteReadError as end:
            raise AssertionError(f"{answer} is not in {end.partial}") from None

    async def is_closed_with(self, answer):
        """Reads to the end, which the server makes."""
        told = await asyncio.wait_for(self.reader.read(), WAIT_S)
        assert answer in told, told


class Socket(Caller):
    """The same as a WebSocket, of which nothing is awaited."""

    def __init__(self, port, path):
        super().__init__(port)
        self.path = path

    async def __aenter__(self):
        await super().__aenter__()
        self.ask("GET", self.path, KEY)
        return self


def chat_socket(port):
    return Socket(port, "/ws/chat")


def socketio_socket(port):
    return Socket(port, f"{SOCKETIO}websocket")


async def vanishes_before_it_says_who_it_is(port):
    async with chat_socket(port) as socket:
        await socket.hears(b"\r\n\r\n")


async def says_who_it_is_with_a_wrong_token(port):
    async with chat_socket(port) as socket:
        socket.say(frame(1, b'{"type":"authenticate","token":"wrong"}'))
        await socket.is_closed_with(closes(4001))


async def says_something_first(port):
    async with chat_socket(port) as socket:
        socket.say(frame(1, b'{"type":"send_message","conversation_id":"1","sender_id":"2","content":"x"}'))
        await socket.is_closed_with(closes(4001))


async def sends_what_is_not_utf8(port):
    async with chat_socket(port) as socket:
        socket.say(frame(1, b"\xff\xfe"))
        await socket.is_closed_with(closes(1007))


async def announces_a_giant_frame(port):
    async with chat_socket(port) as socket:
        socket.say(b"\x81\xff" + (1 << 62).to_bytes(8) + bytes(4))
        await socket.is_closed_with(closes(1009))


async def sends_half_a_frame(port):
    async with chat_socket(port) as socket:
        socket.say(frame(1, b'{"type":"authenticate"}')[:9])
        await socket.hears(b"\r\n\r\n")


async def joins_with_a_wrong_token(port):
    async with socketio_socket(port) as socket:
        socket.say(frame(1, b'40/chat,{"token":"wrong"}'))
        await socket.hears(b"44/chat,")


async def joins_what_is_not_there(port):
    async with socketio_socket(port) as socket:
        socket.say(frame(1, b"40/nowhere,"))
        await socket.hears(b"44/nowhere,")


async def announces_too_many_attachments(port):
    async with socketio_socket(port) as socket:
        socket.say(frame(1, b"40"), frame(1, b'4599999-["x"]'))
        await socket.is_closed_with(b"attachment")


async def refers_to_an_attachment_that_is_not_there(port):
    async with socketio_socket(port) as socket:
        socket.say(frame(1, b"40"), frame(1, b'451-["x",{"_placeholder":true,"num":7}]'), frame(2, b"x"))
        await socket.is_closed_with(b"attachment")


async def sends_no_packet_at_all(port):
    async with socketio_socket(port) as socket:
        socket.say(frame(1, b"x"))
        await socket.is_closed_with(closes(1002))


async def starts_to_poll_and_vanishes(port):
    async with Caller(port) as caller:
        caller.ask("GET", f"{SOCKETIO}polling")
        await caller.hears(b'"sid"')


async def guesses_a_session(port):
    async with Caller(port) as caller:
        caller.ask("GET", f"{SOCKETIO}polling&sid=AAAAAAAAAAAAAAAAAAAA")
        await caller.hears(b'"code":1')


async def announces_a_giant_body(port):
    async with Caller(port) as caller:
        sid = await begin_to_poll(caller)
        caller.ask("POST", f"{SOCKETIO}polling&sid={sid}", "Content-Length: 99999999\r\n")
        await caller.hears(b" 413 ")


async def polls_twice_at_once(port):
    async with Caller(port) as one, Caller(port) as other:
        sid = await begin_to_poll(one)
        one.ask("GET", f"{SOCKETIO}polling&sid={sid}")
        other.ask("GET", f"{SOCKETIO}polling&sid={sid}")
        answers = [asyncio.ensure_future(caller.reader.readuntil(b"HTTP/1.1 ")) for caller in (one, other)]
        await asyncio.wait(answers, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        assert any(answer.done() for answer in answers), "neither is told"
        for answer in answers:
            answer.cancel()


async def abandons_an_upgrade_half_way(port):
    async with Caller(port) as caller:
        sid = await begin_to_poll(caller)
        async with Socket(port, f"{SOCKETIO}websocket&sid={sid}") as socket:
            socket.say(frame(1, b"2probe"))
            await socket.hears(b"3probe")


async def begin_to_poll(caller):
    """The id of a session, which nothing has joined yet."""
    caller.ask("GET", f"{SOCKETIO}polling")
    await caller.hears(b'"sid":"')
    sid = await caller.hears(b'"')
    await caller.hears(b"}")
    return sid[:-1].decode()


KINDS = [
    vanishes_before_it_says_who_it_is, says_who_it_is_with_a_wrong_token, says_something_first, sends_what_is_not_utf8,
    announces_a_giant_frame, sends_half_a_frame, joins_with_a_wrong_token, joins_what_is_not_there,
    announces_too_many_attachments, refers_to_an_attachment_that_is_not_there, sends_no_packet_at_all,
    starts_to_poll_and_vanishes, guesses_a_session, announces_a_giant_body, polls_twice_at_once,
    abandons_an_upgrade_half_way,
]


async def call(port, kinds, count):
    """So many connections of these kinds in turn, some at once."""
    turns = iter(range(count))

    async def worker():
        for turn in turns:
            await kinds[turn % len(kinds)](port)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


def are_gone(server):
    eventually(lambda: metric(server, "relais_sessions") == 0, "all sessions are gone", timeout_s=120)


@pytest.fixture
def town(make_server):
    with contextlib.closing(Town(make_server, **IMPATIENT)) as town:
        yield town


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_is_answered(town, kind):
    asyncio.run(call(town.server.port, [kind], 2 * AT_ONCE))
    are_gone(town.server)
    town.still_serves()


def test_a_hundred_thousand_leave_nothing_behind(town):
    def a_round():
        asyncio.run(call(town.server.port, KINDS, ROUND))
        are_gone(town.server)

    assert_nothing_stays(a_round, town.server.memory_kb, SLACK_KB, rounds_max=4)
    town.still_serves()
