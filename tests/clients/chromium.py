"""A real Chromium."""

import shutil

import pytest
from selenium import webdriver

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-sync", "--disable-background-networking", "--disable-component-update",
         "--window-size=1200,900"]


def program(*names, package):
    for name in names:
        if found := shutil.which(name):
            return found
    return pytest.fail(f"{names[0]} is missing: install the Debian package {package} (`make test` does it as root)")


def start(profile, language="fr", zone=None):
    """A Chromium with a profile of its own, whose console and network can be read. `zone` is that of its clock, such as
    `America/New_York`; the machine's without it."""
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium", package="chromium")
    for flag in [*FLAGS, f"--lang={language}", f"--accept-lang={language}", f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(program("chromedriver", package="chromium-driver"))
    driver = webdriver.Chrome(options=options, service=service)
    if zone:
        driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": zone})
    return driver
