"""Two people look at modules in two browsers while these appear, move, go silent and return."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import chromium
from chat import WAIT_S, node_modules
from field import Field
from process import eventually
from town import ADMIN_EMAIL, PASSWORD

STATION, LIGHT = "MC-1001-STN", "MC-1002-LFX"

SHOW = """
    const [email, password, page, done] = arguments;
    const headers = { "Content-Type": "application/json" };
    const signIn = fetch("/api/connexion", { method: "POST", headers, body: JSON.stringify({ email, password }) });
    const script = Object.assign(document.createElement("script"), { src: "/js/reconnection-manager.js" });
    const loaded = new Promise((resolve) => { script.onload = resolve; });
    document.head.append(script);
    const list = document.createElement("ul");
    document.body.replaceChildren(list);
    // The page as its visitor sees it: one line for each module.
    const draw = () => {
      const line = (state) => Object.assign(document.createElement("li"), {
        textContent: `${state.moduleId} ${state.online ? "online" : "offline"} ${state.telemetry?.position ?? "-"}`,
      });
      const states = Object.values(manager.state.states).sort((one, other) => (one.moduleId < other.moduleId ? -1 : 1));
      list.replaceChildren(...states.map(line));
    };
    Promise.all([signIn, loaded]).then(() => {
      const options = { transports: ["polling"], upgrade: false, auth: (give) => manager.auth(give) };
      window.manager = new ReconnectionManager(() => {
        const socket = io(options);
        socket.on("connect", () => socket.emit("register_page", { page, since: manager.cursor }));
        socket.onAny(() => setTimeout(draw));
        return socket;
      });
      manager.onSyncComplete(draw);
      manager.connect();
      done("started");
    }, (error) => done(String(error)));
"""


class Viewer:
    """Somebody in front of a browser."""

    def __init__(self, browser, url, email, page):
        self.browser = browser
        browser.set_script_timeout(WAIT_S)
        browser.get(f"{url}/")
        browser.execute_script((Path(node_modules()) / "socket.io-client/dist/socket.io.min.js").read_text())
        assert browser.execute_async_script(SHOW, email, PASSWORD, page) == "started"

    def lines(self):
        return self.browser.execute_script("return [...document.querySelectorAll('li')].map((line) => line.textContent)")

    def sees(self, *lines):
        """Waits until the page shows exactly this."""
        try:
            eventually(lambda: self.lines() == list(lines), f"the page shows {lines}", WAIT_S)
        except AssertionError as late:
            logged = [entry["message"] for entry in self.browser.get_log("browser")]
            raise AssertionError(f"{late}; it shows {self.lines()}; console: {logged}") from late


@pytest.fixture
def other_browser(tmp_path):
    driver = chromium.start(tmp_path / "other-profile")
    yield driver
    driver.quit()


@pytest.fixture
def american_browser(tmp_path):
    driver = chromium.start(tmp_path / "american-profile", "en-US", "America/New_York")
    yield driver
    driver.quit()


def test_two_browsers_always_show_the_present(make_server, browser, other_browser):
    field = Field(make_server, RELAIS_LIVE_OFFLINE_DELAY_S="1", REALTIME_RECONNECT_DELAY="50")
    lea, paul = field.person("Lea"), field.person("Paul")
    owner = Viewer(browser, field.server.url, lea.email, "modules")
    administrator = Viewer(other_browser, field.server.url, ADMIN_EMAIL, "admin")
    both = (owner, administrator)
    owner.sees()

    credential = field.module(STATION, lea)
    other = field.module(LIGHT, paul)
    owner.sees(f"{STATION} offline -")
    administrator.sees(f"{STATION} offline -", f"{LIGHT} offline -")

    device = field.device(STATION, credential)
    device.say("telemetry", uptime=1, position="A1", status="idle")
    owner.sees(f"{STATION} online A1")
    administrator.sees(f"{STATION} online A1", f"{LIGHT} offline -")
    device.say("telemetry", uptime=2, position="B7", status="moving")
    owner.sees(f"{STATION} online B7")

    device.cut()
    for viewer in both:
        eventually(lambda viewer=viewer: f"{STATION} offline B7" in viewer.lines(), "it went silent", WAIT_S)

    # The server is away for a moment; what happened meanwhile and after it is shown without a reload.
    field.server.restart()
    device = field.device(STATION, credential)
    device.say("telemetry", position="C3")
    field.device(LIGHT, other).say("telemetry", position="D4")
    owner.sees(f"{STATION} online C3")
    administrator.sees(f"{STATION} online C3", f"{LIGHT} online D4")

    field.server.call("DELETE", f"/api/v1/modules/{STATION}", headers=lea.headers)
    owner.sees()
    administrator.sees(f"{STATION} online C3", f"{LIGHT} online D4")
    field.server.call("DELETE", f"/api/v1/modules/{STATION}", headers=field.admin)
    administrator.sees(f"{LIGHT} online D4")
    for viewer in both:
        viewer.browser.get("about:blank")
    field.close()


SIGN_IN = """
    const [email, password, done] = arguments;
    const body = JSON.stringify({ email, password });
    const headers = { "Content-Type": "application/json" };
    fetch("/api/connexion", { method: "POST", headers, body }).then(({ status }) => done(status));
"""


def test_the_servers_own_page_has_the_language_and_the_time_of_who_reads(make_server, american_browser):
    field, browser = Field(make_server), american_browser
    browser.set_script_timeout(WAIT_S)
    browser.get(f"{field.server.url}/modules")
    assert browser.execute_async_script(SIGN_IN, ADMIN_EMAIL, PASSWORD) == 200
    browser.refresh()
    device = field.device(STATION, field.module(STATION, name="Quai 1"))
    device.say("telemetry", position="A1")

    def row():
        return browser.execute_script("return document.getElementById(arguments[0])?.innerText ?? ''", f"module-{STATION}")

    eventually(lambda: "online" in row() and "position A1" in row(), "the row is in English", WAIT_S)
    state = field.server.get(f"/api/v1/modules/{STATION}/state", headers=field.admin).json()
    seen = datetime.fromisoformat(state["lastSeen"]).astimezone(ZoneInfo("America/New_York"))
    assert f"{seen.month}/{seen.day}/{seen:%y}, {seen.hour % 12 or 12}:{seen:%M:%S}" in row(), f"{state['lastSeen']}: {row()}"
    browser.get("about:blank")
    field.close()


def test_the_servers_own_page_shows_modules_and_figures(make_server, browser):
    field = Field(make_server, RELAIS_LIVE_OFFLINE_DELAY_S="1")
    lea = field.person("Lea")
    browser.set_script_timeout(WAIT_S)
    browser.get(f"{field.server.url}/modules")

    def shown(selector):
        return browser.execute_script("return [...document.querySelectorAll(arguments[0])].map((it) => it.innerText)",
                                      selector)

    eventually(lambda: shown("#login"), "it asks who is there", WAIT_S)
    browser.find_element("id", "email").send_keys(ADMIN_EMAIL)
    browser.find_element("id", "password").send_keys(PASSWORD)
    browser.find_element("css selector", "#login button").click()
    eventually(lambda: shown("#link.live"), "it is connected", WAIT_S)
    device = field.device(STATION, field.module(STATION, lea, name="Quai 1"))
    device.say("telemetry", position="A1", battery=87)

    def row(*texts):
        eventually(lambda: all(text in "".join(shown(f"#module-{STATION}")) for text in texts), f"the row has {texts}",
                   WAIT_S)

    row("Quai 1", "Station", "en ligne", "position A1", "battery 87")
    eventually(lambda: any("Appareils connect" in text and text.split()[-1] == "1" for text in shown("#status div")),
               "the figures count the device", WAIT_S)
    device.cut()
    row("hors ligne")
    # What a device says of itself in an answer is no state.
    device = field.device(STATION, field.rotated(STATION))
    row("en ligne")
    device.say("status_response", online=False, name="Faux", version=9e18)
    device.say("telemetry", position="B2")
    row("Quai 1", "en ligne", "position B2")
    device.cut()
    row("hors ligne")
    field.server.restart()
    eventually(lambda: shown("#link.live"), "it is connected again", WAIT_S)
    field.server.call("DELETE", f"/api/v1/modules/{STATION}", headers=field.admin)
    eventually(lambda: shown(f"#module-{STATION}") == [], "the module is gone", WAIT_S)
    wrong = [entry for entry in browser.get_log("browser") if "CSP" in entry["message"] or "Uncaught" in entry["message"]]
    assert wrong == []
    browser.get("about:blank")
    field.close()


# The page itself has no form (and may send none): one of an existing page is sent, and where it leads to is opened.
CLAIM = """
    const [module_id, module_code, done] = arguments;
    const body = new URLSearchParams({ module_id, module_code });
    fetch("/modules/claim", { method: "POST", body }).then(({ url }) => done(url));
"""


def test_the_page_tells_what_a_form_brought_about_and_what_is_wrong_with_a_module(make_server, browser):
    field = Field(make_server)
    lea = field.person("Lea")
    new = {"id": STATION, "name": "Quai 1"}
    module = field.server.post("/api/v1/modules", json=new, headers=field.admin).json()
    browser.set_script_timeout(WAIT_S)
    browser.get(f"{field.server.url}/docs")
    assert browser.execute_async_script(SIGN_IN, lea.email, PASSWORD) == 200
    browser.get(f"{field.server.url}/modules")

    def text(selector):
        return browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def claim(code, kind):
        browser.get(browser.execute_async_script(CLAIM, STATION, code))
        eventually(lambda: text(f"#outcome.{kind}"), f"the outcome is {kind}", WAIT_S)
        assert "flash" not in browser.current_url, "a reload does not tell it again"
        return text("#outcome")

    claim("wrong", "bad")
    claim(module["claim_code"], "good")
    eventually(lambda: "Quai 1" in text(f"#module-{STATION}"), "the module is there", WAIT_S)
    devices = [field.device(STATION, module["credential"]) for _ in range(6)]
    eventually(lambda: "deux appareils" in text(f"#module-{STATION} .bad"), "the page says what is wrong", WAIT_S)
    devices[-1].socket.send('{"type":"telemetry","humidity":nan,"temperature":21.5}')
    eventually(lambda: "Refusé" in text(f"#module-{STATION}"), "the page says what was refused", WAIT_S)
    # It is said to whoever opens the page later, too.
    browser.refresh()
    eventually(lambda: "Refusé" in text(f"#module-{STATION}"), "the page says what was refused", WAIT_S)
    assert "deux appareils" in text(f"#module-{STATION}") and text("#outcome") == ""
    browser.get("about:blank")
    field.close()


def test_the_page_of_modules_is_open_where_the_server_is_and_finds_one_of_many(make_server, browser):
    server = make_server(RELAIS_ADMIN_EMAIL=ADMIN_EMAIL, RELAIS_ADMIN_PASSWORD=PASSWORD)
    token = server.post("/api/connexion", json={"email": ADMIN_EMAIL, "password": PASSWORD}).json()["token"]
    admin = {"Authorization": f"Bearer {token}"}
    for number in range(1, 206):
        kind = "LFX" if number % 2 else "STN"
        reply = server.post("/api/v1/modules", json={"id": f"MC-{number:04}-{kind}", "name": f"Voie {number}"}, headers=admin)
        assert reply.status_code == 201, reply.text
    browser.get(f"{server.url}/")
    browser.find_element("link text", "Modules").click()

    def rows():
        return browser.execute_script("return [...document.querySelectorAll('#modules th')].map((it) => it.innerText)")

    def ranges(text):
        eventually(lambda: browser.find_element("id", "range").text == text, f"the page says {text!r}", WAIT_S)

    ranges("1 à 100 sur 205")
    browser.find_element("id", "next").click()
    browser.find_element("id", "next").click()
    ranges("201 à 205 sur 205")
    assert len(rows()) == 5 and not browser.find_element("id", "next").is_enabled()
    browser.find_element("id", "words").send_keys("voie 20 lfx")
    ranges("1 à 3 sur 3")
    assert rows() == ["MC-0201-LFX", "MC-0203-LFX", "MC-0205-LFX"]
    # The address has it, for whoever opens it next.
    address = browser.current_url
    browser.get("about:blank")
    browser.get(address)
    ranges("1 à 3 sur 3")
    browser.find_element("id", "presence").send_keys("en l")
    eventually(lambda: "Aucun module" in browser.find_element("id", "range").text, "none is online", WAIT_S)
