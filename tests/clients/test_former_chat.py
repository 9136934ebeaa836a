"""A page of an earlier chat, unchanged, from another origin and in a real Chromium: it signs in, meets, talks and has
groups, by polling alone and with its WebSocket, and never stays white."""

from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

import chromium
from origin import serving
from process import eventually
from town import PASSWORD, Town

WAIT_S = 60


@pytest.fixture
def origin():
    with serving(Path(__file__).parent / "pages") as origin:
        yield origin


@pytest.fixture
def other_browser(tmp_path):
    driver = chromium.start(tmp_path / "other-profile")
    yield driver
    driver.quit()


@pytest.fixture
def town(make_server, origin):
    town = Town(make_server, ALLOWED_ORIGINS=origin)
    yield town
    town.close()


class Page:
    """The page, with somebody in front of it."""

    def __init__(self, browser, origin, town, person, socket=False):
        self.browser = browser
        browser.get(f"{origin}/former_chat.html?api={town.server.url}{'&socket=1' if socket else ''}")
        browser.find_element(By.ID, "email").send_keys(person.email)
        browser.find_element(By.ID, "password").send_keys(PASSWORD)
        browser.find_element(By.ID, "sign-in").click()

    def rows(self, part):
        return self.browser.execute_script(
            "return [...document.querySelectorAll(`#${arguments[0]} li`)].map((row) => row.firstChild.textContent"
            " + [...row.childNodes].slice(1).filter((node) => node.nodeType === 3).map((node) => node.data).join(''))", part)

    def shows(self, part, *rows):
        """Waits until a part of the page has exactly these rows."""
        try:
            eventually(lambda: self.rows(part) == list(rows), f"{part} shows {rows}", WAIT_S)
        except AssertionError as late:
            state = self.browser.execute_script("return [page.broken, page.heard]")
            logged = [entry["message"] for entry in self.browser.get_log("browser")]
            raise AssertionError(f"{late}; it shows {self.rows(part)}; broken, heard: {state}; {logged}") from late

    def click(self, part, label, row=0):
        """What is there may be drawn anew at any moment: found and clicked at once."""
        clicked = self.browser.execute_script(
            "const row = document.querySelectorAll(`#${arguments[0]} li`)[arguments[1]];"
            "const button = [...row.querySelectorAll('button')].find((one) => one.textContent === arguments[2]);"
            "button.click(); return true;", part, row, label)
        assert clicked

    def act(self, name, *arguments):
        self.browser.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "page[arguments[0]](...arguments[1]).then(() => done(), (error) => done(String(error)));", name, arguments)

    def write(self, content):
        self.browser.execute_script(
            "document.querySelector('#content').value = arguments[0];"
            "[...document.querySelectorAll('main > button')].find((one) => one.textContent === 'envoyer').click();", content)

    def heard(self, name):
        eventually(lambda: name in self.browser.execute_script("return page.heard"), f"it hears {name}", WAIT_S)

    def is_whole(self):
        assert self.browser.execute_script("return page.broken ?? null") is None
        assert [entry for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_page_that_only_polls_meets_and_talks(town, origin, browser, other_browser):
    lea, paul = town.person("Lea", admin=True), town.person("Paul", admin=True)
    # A group is there already: its list of conversations is of two people.
    lea.post("groups", {"name": "Chantier"})
    of_lea, of_paul = Page(browser, origin, town, lea), Page(other_browser, origin, town, paul)
    of_lea.shows("groups", "Chantier")
    of_lea.shows("conversations")

    of_lea.act("search", paul.email)
    of_lea.shows("found", paul.email)
    of_lea.click("found", "inviter")
    of_lea.shows("conversations", "Paul Martin (en attente)")
    of_paul.shows("invitations", "Lea : Bonjour")
    of_paul.click("invitations", "accepter")
    of_paul.shows("conversations", "Lea Martin")
    of_lea.shows("conversations", "Paul Martin")

    of_lea.click("conversations", "ouvrir")
    of_lea.write("Le béton arrive")
    of_lea.shows("messages", "Le béton arrive ✓")
    of_paul.shows("conversations", "Lea Martin : Le béton arrive [1]")
    # Another program of his fetches it: that it arrived is seen by polling.
    paul.get(f"conversations/{paul.get('conversations')['conversations'][0]['id']}/messages")
    of_lea.shows("messages", "Le béton arrive ✓✓")
    of_paul.click("conversations", "ouvrir")
    of_paul.shows("messages", "Le béton arrive")
    of_lea.shows("messages", "Le béton arrive ✓✓ lu")
    of_paul.write("Merci")
    of_lea.shows("messages", "Le béton arrive ✓✓ lu", "Merci")
    of_lea.is_whole()
    of_paul.is_whole()


def test_a_page_has_groups_over_its_websocket(town, origin, browser, other_browser):
    lea, paul, zoe = (town.person(name, admin=True) for name in ("Lea", "Paul", "Zoe"))
    of_lea, of_paul = (Page(*where, socket=True) for where in
                       ((browser, origin, town, lea), (other_browser, origin, town, paul)))
    of_lea.heard("authenticated")
    of_paul.heard("authenticated")

    of_lea.act("makeGroup", "Chantier", [lea.id, paul.id])
    of_lea.heard("group_created")
    of_lea.shows("groups", "Chantier")
    of_paul.heard("group_invitation")
    of_paul.shows("group-invitations", "Chantier (Lea)")
    of_lea.click("groups", "ouvrir")
    of_lea.shows("waiting", "Paul")
    of_paul.click("group-invitations", "accepter")
    of_paul.shows("groups", "Chantier")
    of_lea.heard("group_invitation_accepted")
    of_lea.heard("group_member_joined")
    of_lea.shows("members", "Lea owner", "Paul member")
    of_lea.shows("waiting")

    of_lea.act("inviteToGroup", zoe.id)
    of_lea.shows("waiting", "Zoe")
    of_lea.click("waiting", "annuler")
    of_lea.shows("waiting")
    assert zoe.get("groups/invitations/pending")["invitations"] == []

    of_paul.click("groups", "ouvrir")
    of_paul.shows("members", "Lea owner", "Paul member")
    of_lea.write("Bonjour à tous")
    of_paul.heard("group_user_typing")
    of_paul.heard("new_group_message")
    of_paul.shows("messages", "Bonjour à tous")
    of_paul.click("groups", "ouvrir")
    of_lea.heard("group_messages_read")
    of_lea.shows("messages", "Bonjour à tous ✓✓ lu")
    of_paul.click("groups", "quitter")
    of_paul.shows("groups")
    of_lea.heard("group_member_left")
    of_lea.shows("members", "Lea owner")
    # A group is no conversation of two, and none of what it tells made it one.
    of_lea.shows("conversations")
    of_lea.is_whole()
    of_paul.is_whole()


def test_whoever_is_no_administrator_sees_nothing_and_nothing_breaks(town, origin, browser):
    page = Page(browser, origin, town, town.person("Eve"))
    eventually(lambda: browser.execute_script("return page.user"), "she is signed in", WAIT_S)
    eventually(lambda: browser.execute_script("return document.querySelector('main').childElementCount") == 0, "white")
    assert browser.execute_script("return page.user.admin") == 0
    page.is_whole()


def test_a_page_of_an_origin_that_is_not_named_cannot_even_sign_in(make_server, origin, browser):
    town = Town(make_server, ALLOWED_ORIGINS="https://app.example.fr")
    Page(browser, origin, town, town.person("Eve", admin=True))
    eventually(lambda: browser.execute_script("return page.broken"), "the browser refuses", WAIT_S)
    assert browser.execute_script("return page.token") is None
    town.close()
