"""The live page and the documentation in a real Chromium."""

import json

import pytest
from selenium.webdriver.common.by import By

from process import eventually

EMAIL, PASSWORD = "admin@example.com", "un mot de passe assez long"


def texts(browser, selector):
    """The texts of what is shown now; the page may replace it at any moment."""
    read = """return Array.from(document.querySelectorAll(arguments[0]))
        .filter(element => element.checkVisibility()).map(element => element.innerText)"""
    return browser.execute_script(read, selector)


def shows(browser, selector, text):
    eventually(lambda: any(text in found for found in texts(browser, selector)), f"{selector} shows {text!r}")


def asks_who_is_there(browser):
    eventually(lambda: any("Adresse e-mail" in text for text in texts(browser, "#signin")), "the page asks to sign in")


def is_live(browser):
    eventually(lambda: browser.find_elements(By.CSS_SELECTOR, "#link.live"), "the page is connected", 60)


def complaints(browser):
    return [entry for entry in browser.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]


def requested(browser):
    """The addresses of everything that the pages asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    sockets = [message["params"] for message in messages if message["method"] == "Network.webSocketCreated"]
    return [params["request"]["url"] for params in sent] + [params["url"] for params in sockets]


def assert_all_own(server, addresses):
    """Nothing was asked of another origin. What the browser itself opens at its start is not the page's."""
    own = (server.url, server.url.replace("http", "ws"), "data:", "blob:", "about:", "chrome:", "chrome-")
    assert addresses and [address for address in addresses if not address.startswith(own)] == []


def test_the_page_shows_what_is_there_and_what_happens(server, browser):
    server.put("rsp-bgs", "comptes_global_annee_2023.json", "[1]")
    server.put("rsp-neg", "indicateurs_2022.json", "[1]")
    browser.get(f"{server.url}/")
    is_live(browser)
    shows(browser, "#societes li", "rsp-bgs")
    shows(browser, "#societes li", "rsp-neg")
    shows(browser, "#files tr", "comptes_global_annee_2023.json")
    assert texts(browser, "#events li") == []

    server.put("rsp-bgs", "comptes_mensuel_2024.json", "[1]")
    shows(browser, "#events li", "comptes_mensuel_2024.json")
    shows(browser, "#files tr", "comptes_mensuel_2024.json")
    server.delete("/api/files/delete/rsp-bgs/comptes_mensuel_2024.json")
    shows(browser, "#events li", "supprimé")
    eventually(lambda: len(texts(browser, "#files tr")) == 1, "a deleted file leaves the list")

    neighbour = browser.find_element(By.ID, "s/rsp-neg")
    server.put("rsp-sb", "comptes_2025.json", "[1]")
    eventually(lambda: any("rsp-sb" in text and "1" in text for text in texts(browser, "#societes li")),
               "the files of the new société are counted")
    assert "rsp-neg" in neighbour.text, "what did not change is not drawn anew: a click on it is not lost"
    browser.find_element(By.ID, "s/rsp-sb").click()
    shows(browser, "#files tr", "comptes_2025.json")
    assert complaints(browser) == []
    assert_all_own(server, requested(browser))


def test_an_empty_server_says_what_to_do_first(server, browser):
    browser.get(f"{server.url}/")
    is_live(browser)
    shows(browser, "#empty", "relais sample")
    server.put("rsp-bgs", "comptes.json", "[1]")
    shows(browser, "#societes li", "rsp-bgs")
    eventually(lambda: not browser.find_element(By.ID, "empty").is_displayed(), "the advice goes away")
    assert complaints(browser) == []


def test_names_become_text_and_never_markup(server, browser):
    """Names that would be markup if the page were careless; `<` itself is no character of a name."""
    server.put("a&amp;b 'c'", "x&lt;img src=x&gt;.json", "[1]")
    browser.get(f"{server.url}/")
    shows(browser, "#societes li", "a&amp;b 'c'")
    shows(browser, "#files tr", "x&lt;img src=x&gt;.json")
    assert complaints(browser) == []


def test_files_are_sent_with_the_file_picker(server, browser, tmp_path):
    good, bad = tmp_path / "comptes_2024.json", tmp_path / "faux.json"
    good.write_text('{"a": 1}')
    bad.write_text('{"a": ')
    browser.get(f"{server.url}/")
    is_live(browser)
    browser.find_element(By.ID, "target").send_keys("rsp-neuve")
    browser.find_element(By.ID, "pick").send_keys(f"{good}\n{bad}")
    shows(browser, "#sent li.good", "comptes_2024.json")
    shows(browser, "#sent li.bad", "JSON invalide")
    shows(browser, "#events li", "comptes_2024.json")
    assert server.download("rsp-neuve", "comptes_2024.json").json() == {"a": 1}
    assert server.download("rsp-neuve", "faux.json").status_code == 404
    # The refused upload is the only thing that the console may mention.
    assert all("400" in entry["message"] for entry in complaints(browser))


def test_the_same_file_can_be_sent_again(server, browser, tmp_path):
    """Once without a société, which is refused on the page; then twice: a file input tells of a change only."""
    file = tmp_path / "comptes_2024.json"
    file.write_text('{"a": 1}')
    browser.get(f"{server.url}/")
    is_live(browser)
    pick = browser.find_element(By.ID, "pick")
    pick.send_keys(str(file))
    shows(browser, "#sent li.bad", "Indiquez d'abord une société")
    browser.find_element(By.ID, "target").send_keys("rsp-neuve")
    pick.send_keys(str(file))
    shows(browser, "#sent li.good", "envoyé")
    pick.send_keys(str(file))
    shows(browser, "#sent li.good", "inchangé")


def test_a_file_is_looked_into_put_back_deleted_and_had_again(server, browser):
    for content in ('{"montant": "première"}', '{"montant": "deuxième"}'):
        server.put("rsp-bgs", "comptes_2024.json", content)
    browser.get(f"{server.url}/")
    shows(browser, "#files tr", "comptes_2024.json")
    browser.find_element(By.ID, "f/comptes_2024.json").click()
    shows(browser, "#preview", "deuxième")
    shows(browser, "#versions li", "Version 2")
    versions = texts(browser, "#versions li")
    assert len(versions) == 2 and "actuelle" in versions[0]

    browser.find_element(By.CSS_SELECTOR, "#versions li:nth-child(2) button").click()
    shows(browser, "#preview", "première")
    browser.find_element(By.XPATH, "//ul[@id='versions']//button[text()='Restaurer']").click()
    eventually(lambda: len(texts(browser, "#versions li")) == 3, "the version that was put back is a new one")
    assert complaints(browser) == []
    assert server.download("rsp-bgs", "comptes_2024.json").json() == {"montant": "première"}

    # A question comes first, and its answer "no" leaves everything as it is.
    delete, no = "#file-actions .danger", "#file-actions button:last-child"
    browser.find_element(By.CSS_SELECTOR, delete).click()
    browser.find_element(By.CSS_SELECTOR, no).click()
    browser.find_element(By.CSS_SELECTOR, delete).click()
    shows(browser, "#file-actions", "Supprimer comptes_2024.json ?")
    browser.find_element(By.CSS_SELECTOR, delete).click()
    shows(browser, "#done", "comptes_2024.json est supprimé")
    assert server.download("rsp-bgs", "comptes_2024.json").status_code == 404
    browser.find_element(By.CSS_SELECTOR, "#done button").click()
    shows(browser, "#files tr", "comptes_2024.json")
    assert server.download("rsp-bgs", "comptes_2024.json").json() == {"montant": "première"}


def test_what_is_shown_is_in_the_address(server, browser):
    server.put("rsp-bgs", "comptes_2023.json", "[1]")
    server.put("rsp-été", "gros 100%_2024.json", json.dumps(list(range(40_000))))
    browser.get(f"{server.url}/#rsp-%C3%A9t%C3%A9/gros%20100%25_2024.json")
    shows(browser, "#file-title", "gros 100%_2024.json")
    shows(browser, "#preview-part", "Le début")
    browser.find_element(By.ID, "file-close").click()
    eventually(lambda: browser.current_url.endswith("/#rsp-%C3%A9t%C3%A9"), "the société stays in the address")
    browser.find_element(By.ID, "s/rsp-bgs").click()
    shows(browser, "#files tr", "comptes_2023.json")
    browser.back()
    shows(browser, "#files tr", "gros 100%_2024.json")


def test_the_page_fits_a_phone_and_shows_its_connection_always(server, browser):
    company, file = "société-" + "très-longue-" * 6, "indicateurs_" + "x" * 80 + "_2024.json"
    server.put(company, file, "[1]")
    for number in range(60):
        server.put(company, f"comptes_{number}_2023.json", "[1]")
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    browser.get(f"{server.url}/")
    shows(browser, "#files tr", file)
    fits = "return document.documentElement.scrollWidth <= innerWidth"
    assert browser.execute_script(fits)
    browser.execute_script("scrollTo(0, document.body.scrollHeight)")
    in_sight = """const { top, bottom } = document.getElementById("link").getBoundingClientRect();
        return scrollY > 0 && top >= 0 && bottom <= innerHeight"""
    eventually(lambda: browser.execute_script(in_sight), "the state of the connection is in sight")
    browser.execute_script("document.getElementById(arguments[0]).click()", f"f/{file}")
    shows(browser, "#file-title", file)
    within = """const dialog = document.getElementById("file");
        return dialog.scrollWidth <= dialog.clientWidth && dialog.getBoundingClientRect().right <= innerWidth"""
    assert browser.execute_script(within) and browser.execute_script(fits)


@pytest.mark.parametrize("stop", ["terminate", "kill9"])
def test_the_page_survives_a_restart(server, browser, stop):
    server.put("rsp-bgs", "avant.json", "[1]")
    browser.get(f"{server.url}/")
    is_live(browser)
    shows(browser, "#files tr", "avant.json")
    getattr(server, stop)()
    eventually(lambda: not browser.find_elements(By.CSS_SELECTOR, "#link.live"), "the page notices the loss")
    server.start()
    # Before the page is back: it has to catch up by itself.
    server.put("rsp-bgs", "entretemps.json", "[1]")
    is_live(browser)
    shows(browser, "#events li", "entretemps.json")
    shows(browser, "#files tr", "entretemps.json")
    server.put("rsp-bgs", "après.json", "[1]")
    shows(browser, "#events li", "après.json")
    heard = [name for name in ("entretemps", "après") for line in texts(browser, "#events li") if name in line]
    assert heard == ["entretemps", "après"]


def test_signing_in_opens_the_page(make_server, browser):
    server = make_server(RELAIS_AUTH_MODE="required", RELAIS_ADMIN_EMAIL=EMAIL, RELAIS_ADMIN_PASSWORD=PASSWORD)
    token = server.post("/api/connexion", json={"email": EMAIL, "password": PASSWORD}).json()["token"]
    admin = {"Authorization": f"Bearer {token}"}
    server.put("rsp-bgs", "secret.json", "[1]", headers=admin)
    browser.get(f"{server.url}/")
    asks_who_is_there(browser)
    assert "secret" not in browser.page_source
    browser.find_element(By.ID, "email").send_keys(EMAIL)
    browser.find_element(By.ID, "password").send_keys("faux")
    browser.find_element(By.CSS_SELECTOR, "#login button").click()
    shows(browser, "#problem", "Email ou mot de passe incorrect")
    browser.find_element(By.ID, "password").clear()
    browser.find_element(By.ID, "password").send_keys(PASSWORD)
    browser.find_element(By.CSS_SELECTOR, "#login button").click()
    is_live(browser)
    shows(browser, "#files tr", "secret.json")
    server.put("rsp-bgs", "nouveau.json", "[1]", headers=admin)
    shows(browser, "#events li", "nouveau.json")
    assert "relais_session" not in browser.execute_script("return document.cookie")
    browser.find_element(By.ID, "logout").click()
    # The page starts over.
    asks_who_is_there(browser)
    assert "secret" not in browser.page_source


def test_the_documentation_needs_no_other_origin(server, browser):
    browser.get(f"{server.url}/docs")
    shows(browser, "body", "/api/files/upload/{societe}")
    shows(browser, "body", "/api/files/status")
    assert_all_own(server, requested(browser))
    assert complaints(browser) == []
