"""The package for Node applications, and the script for their pages: an Express application changes one line, and its
events reach everybody whom they concern, once and in order, also while the server is away."""

import json
import os
import queue
import subprocess
import threading
from pathlib import Path

import pytest
import requests

from bare_engineio import Cable
from chat import NodeClient, node_modules
from field import Field
from process import REQUEST_TIMEOUT_S, ROOT, eventually
from test_events import Listener, make_key

PACKAGE = ROOT / "web/realtime"
MANAGER = PACKAGE / "browser/reconnection-manager.js"
APPLICATION = Path(__file__).parent / "node/shop.cjs"
WAIT_S = 60
STATION, OTHER = "MC-1001-STN", "MC-1002-LFX"
EVENTS, ABSENCES = 300, 3


@pytest.fixture
def town(make_server):
    # Administrators hear what the application tells, and nothing in between.
    town = Field(make_server, REALTIME_ENABLE_STATS="false")
    yield town
    town.close()


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A folder with the package as npm packs and installs it."""
    folder = tmp_path_factory.mktemp("shop")
    packed = npm("pack", "--silent", PACKAGE, "--pack-destination", folder).strip()
    npm("install", "--silent", "--offline", "--no-audit", "--no-fund", "--prefix", folder, folder / packed)
    return folder


def npm(*arguments):
    done = subprocess.run(["npm", *arguments], capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Application:
    """The Express application, with its one line changed."""

    def __init__(self, folder, server, key):
        before = APPLICATION.read_text()
        assert before.count('require("./api")') == 1
        (folder / "shop.cjs").write_text(before.replace('require("./api")', 'require("@relais/realtime")'))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RELAIS_")}
        environment |= {"RELAIS_URL": server.url, "RELAIS_KEY": key, "NODE_PATH": node_modules()}
        self.process = subprocess.Popen(["node", "shop.cjs"], cwd=folder, env=environment, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.port = self.process.stdout.readline().strip()

    def post(self, path, body):
        reply = requests.post(f"http://127.0.0.1:{self.port}/{path}", json=body, timeout=REQUEST_TIMEOUT_S)
        assert reply.json() == {"success": True}, reply.text

    def stop(self):
        self.process.kill()
        said = self.process.communicate(timeout=WAIT_S)[1]
        return self.process.returncode, said


@pytest.fixture
def application(town, installed):
    running = Application(installed, town.server, make_key(town, "events:publish:*"))
    assert running.port, running.stop()
    yield running
    running.stop()


def heard(listener, count):
    """So many events, as topic, name and data."""
    events = [listener.next() for _ in range(count)]
    return [(event["topic"], event["name"], event["data"]) for event in events]


def test_its_own_tests_pass():
    files = [*PACKAGE.glob("*.js"), *PACKAGE.glob("*.mjs"), *PACKAGE.glob("*/*.js"), *PACKAGE.glob("*/*.mjs")]
    for file in files:
        subprocess.run(["node", "--check", file], check=True, timeout=WAIT_S)
    done = subprocess.run(["node", "--test", "test/"], cwd=PACKAGE, capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 0 and "# pass 0" not in done.stdout, done.stdout


def test_one_line_makes_an_express_application_live(town, application):
    lea = town.person("Lea")
    administrator = town.admin["Authorization"].removeprefix("Bearer ")
    of_socketio = town.client(NodeClient, lea, town.server.url, ["polling", "websocket"], "event").is_in()
    page = town.page(lea, "modules").is_open()
    module = {"moduleId": STATION, "name": "Station principale", "type": "Station", "userId": lea.id}
    with Listener(town, lea.token) as of_lea, Listener(town, administrator) as of_admin:
        for listener, topics in ((of_lea, [f"user:{lea.id}", "page:modules"]), (of_admin, ["role:admin"])):
            for topic in topics:
                assert listener.ask("subscribe", channel=topic)["type"] == "subscribed"
        application.post("login", {"id": lea.id, "name": "Léa Martin", "email": lea.email, "isAdmin": False})
        application.post("modules", module)
        application.post(f"modules/{STATION}/online", module)
        application.post(f"modules/{STATION}/online", module)
        application.post(f"modules/{STATION}/telemetry", {"uptime": 12, "position": "N"})
        application.post(f"notify/{lea.id}", {"event": "invoice.ready", "data": {"n": 1}})
        told_admin, told_lea = heard(of_admin, 4), heard(of_lea, 5)
    names = ["rt_user_logged_in", "rt_module_added", "rt_module_online", "rt_telemetry_updated"]
    assert [(topic, name) for topic, name, _ in told_admin] == [("role:admin", name) for name in names]
    login, added, online, telemetry = (data for _, _, data in told_admin)
    assert login["action"] == "login" and login["user"]["name"] == login["name"] == "Léa Martin"
    assert added["module"]["module_id"] == STATION and {name: added[name] for name in module} == module
    assert online["online"] is True and online["lastSeenFormatted"] and telemetry["telemetry"]["uptime"] == 12
    own = f"user:{lea.id}"
    assert sorted((topic, name) for topic, name, _ in told_lea) == [
        ("page:modules", "rt_module_online"), ("page:modules", "rt_telemetry_updated"), (own, "invoice.ready"),
        (own, "user:module:added"), (own, "user:module:online")]
    assert of_socketio.hear("user:module:added")["moduleId"] == STATION
    assert of_socketio.hear("user:module:online")["online"] is True
    assert of_socketio.hear("invoice.ready")["n"] == 1
    assert page.hear_of("rt_module_online", STATION)["name"] == "Station principale"
    assert page.hear_of("rt_telemetry_updated", STATION)["telemetry"] == {"uptime": 12, "position": "N"}
    assert page.hear("user:module:added")["moduleId"] == STATION


def test_nothing_is_lost_or_doubled_while_the_server_is_away(town, application):
    lea = town.person("Lea")
    channel = f"user:{lea.id}"
    with Listener(town, lea.token) as listener:
        cursor = listener.ask("subscribe", channel=channel)["cursor"]
    for number in range(EVENTS):
        if number % (EVENTS // ABSENCES) == EVENTS // ABSENCES // 2:
            town.server.kill9() if number < EVENTS // 2 else town.server.terminate()
        if number % (EVENTS // ABSENCES) == EVENTS // ABSENCES - 1:
            town.server.start()
        application.post(f"notify/{lea.id}", {"event": "counted", "data": {"n": number}})
    url = f"{town.server.url}/api/v1/events?channel={channel}&since={cursor}"
    with requests.get(url, headers=lea.headers, stream=True, timeout=REQUEST_TIMEOUT_S) as stream:
        lines = (line for line in stream.iter_lines(decode_unicode=True) if line.startswith("data: "))
        events = (json.loads(line.removeprefix("data: ")) for line in lines)
        counted = (event["data"]["n"] for event in events if event.get("name") == "counted")
        numbers = [next(counted) for _ in range(EVENTS)]
    assert numbers == list(range(EVENTS))
    with Listener(town, lea.token) as listener:
        assert listener.ask("subscribe", channel=channel, since=cursor)["replayed"] == EVENTS


def test_an_application_whose_key_cannot_work_says_so_when_it_starts(town, installed):
    wrong = Application(installed, town.server, "rk_0_0")
    eventually(lambda: wrong.process.poll() is not None, "the application ends")
    status, said = wrong.stop()
    assert status == 1 and "relais key add" in said, said


def test_an_application_starts_before_the_server(town, installed):
    lea, key = town.person("Lea"), make_key(town, "events:publish:*")
    town.server.kill9()
    application = Application(installed, town.server, key)
    try:
        application.post(f"notify/{lea.id}", {"event": "early", "data": {}})
        town.server.start()
        with Listener(town, lea.token) as listener:
            begin = listener.ask("subscribe", channel=f"user:{lea.id}")
            if begin["offset"] == 0:
                assert heard(listener, 1) == [(f"user:{lea.id}", "early", {})]
            else:
                assert begin["offset"] == 1
    finally:
        application.stop()


class ReturningPage:
    """A page with the ReconnectionManager and `socket.io-client`; it hears what the manager tells."""

    def __init__(self, server, person):
        options = json.dumps({"url": server.url, "token": person.token})
        self.process = subprocess.Popen(
            ["node", Path(__file__).parent / "node/returning.cjs", options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=os.environ | {"NODE_PATH": node_modules(), "RECONNECTION_MANAGER": str(MANAGER)})

        self.lines = queue.Queue()
        threading.Thread(target=lambda: [self.lines.put(line.strip()) for line in self.process.stdout], daemon=True).start()

    def hear(self):
        return self.lines.get(timeout=WAIT_S)

    def returns(self):
        """It is connected again; what it learns then."""
        assert [self.hear(), self.hear()] == ["reconnect", "connect"]
        return self.hear()

    def ask(self, command):
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def close(self):
        self.process.kill()
        self.process.wait(WAIT_S)
        self.process.stdin.close()


def test_a_page_comes_back_and_learns_what_it_missed(town):
    lea = town.person("Lea")
    page = town.client(ReturningPage, town.server, lea)
    assert [page.hear(), page.hear()] == ["connect", "sync: all of none"]
    town.module(STATION, lea)
    assert page.hear() == "added"
    for stop in (town.server.kill9, town.server.terminate):
        stop()
        assert page.hear() == "disconnect"
        town.server.start()
        assert page.returns() == f"sync: all of {STATION}"
    page.ask("leave")
    assert page.hear() == "disconnect"
    town.module(OTHER, lea)
    page.ask("connect")
    assert page.returns() == f"sync: {OTHER} of {STATION},{OTHER}"


def test_a_page_connects_anew_when_it_is_told_to(town):
    page = town.client(ReturningPage, town.server, town.person("Lea"))
    assert [page.hear(), page.hear()] == ["connect", "sync: all of none"]
    page.ask("force")
    assert page.hear() == "disconnect"
    page.returns()
    town.server.kill9()
    assert page.hear() == "disconnect"
    page.ask("force")
    town.server.start()
    page.ask("force")
    page.returns()


BROWSER_PAGE = """
    const [email, password, done] = arguments;
    const headers = { "Content-Type": "application/json" };
    const signIn = fetch("/api/connexion", { method: "POST", headers, body: JSON.stringify({ email, password }) });
    const script = Object.assign(document.createElement("script"), { src: "/js/reconnection-manager.js" });
    const loaded = new Promise((resolve) => { script.onload = resolve; });
    document.head.append(script);
    Promise.all([signIn, loaded]).then(() => {
      window.told = [];
      window.manager = new ReconnectionManager(() => io({ transports: ["polling"], upgrade: false }));
      manager.onReconnect(() => told.push("reconnect"));
      manager.onDisconnect(() => told.push("disconnect"));
      manager.onSyncComplete((server, client) => told.push(Object.keys(client.states).join()));
      manager.connect();
      done(manager.options);
    }, (error) => done(String(error)));
"""


def test_a_browser_comes_back_with_the_script_of_the_server(make_server, browser):
    town = Field(make_server, REALTIME_RECONNECT_DELAY="50")
    with Cable(town.server.url) as cable:
        lea = town.person("Lea")
        browser.get(f"{cable.url}/")
        browser.execute_script((Path(node_modules()) / "socket.io-client/dist/socket.io.min.js").read_text())
        options = browser.execute_async_script(BROWSER_PAGE, lea.email, lea.password)
        assert (options["reconnectDelay"], options["maxReconnectAttempts"], options["enableStats"]) == (50, 15, True)

        def told(*expected):
            enough = "return told.length >= arguments[0] && told.splice(0)"
            found = eventually(lambda: browser.execute_script(enough, len(expected)), f"the page is told {expected}")
            assert found == list(expected)

        told("")
        cable.cut()
        told("disconnect")
        town.module(STATION, lea)
        cable.mend()
        told("reconnect", STATION)
        browser.execute_script("mc_socketReconnect()")
        told("disconnect", "reconnect", STATION)
        browser.get("about:blank")


def test_pages_get_the_script_with_the_servers_settings(make_server):
    server = make_server(REALTIME_MAX_RECONNECT_ATTEMPTS="5", REALTIME_RECONNECT_DELAY="200",
                         REALTIME_ENABLE_STATS="false")
    reply = server.get("/js/reconnection-manager.js")
    first, _, script = reply.text.partition("\n")
    told = json.loads(first.removeprefix("window.RELAIS_RECONNECT = ").removesuffix(";"))
    expected = {"maxReconnectAttempts": 5, "reconnectDelay": 200, "maxReconnectDelay": 15000, "enableStats": False}
    assert told == expected and script == MANAGER.read_text()
    assert reply.headers["Content-Type"] == "text/javascript; charset=utf-8"
    tag = reply.headers["ETag"]
    again = server.get("/js/reconnection-manager.js", headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    other = make_server().get("/js/reconnection-manager.js", headers={"If-None-Match": tag})
    assert (other.status_code, other.headers["ETag"] != tag) == (200, True)
