"""Fixtures: servers that are always ended, mounts that are always undone."""

import os
import signal
import subprocess

import pytest

from conformance import ASKING, CALM, HASTY, IMPATIENT, Conformance
from process import Server


def pytest_configure():
    # Asked to end, the run ends through its fixtures, so that no server outlives it.
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", 143))


def pytest_terminal_summary(terminalreporter):
    count = {kind: len(terminalreporter.stats.get(kind, [])) for kind in ("passed", "failed", "error")}
    terminalreporter.ensure_newline()
    terminalreporter.write_line(f"{count['passed']} passed, {count['failed'] + count['error']} failed")


@pytest.fixture
def make_server(tmp_path):
    """Starts servers with settings from the environment: `make_server(RELAIS_RELAY_QUOTA_BYTES="100")`."""
    servers = []

    def make(data=None, **env):
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        server = Server(folder, env, data)
        servers.append(server)
        return server.start()

    yield make
    for server in servers:
        server.clean_up()
        print(f"---- log of the server on port {server.port}\n{server.log_tail()}")


@pytest.fixture
def server(make_server):
    """A server with its defaults."""
    return make_server()


@pytest.fixture
def mount(tmp_path):
    """Mounts something on a folder, `mount(folder, "-t", "tmpfs", "tmpfs")`; says whether that was allowed."""
    mounted = []

    def attempt(folder, *arguments):
        if os.geteuid() != 0:
            return False
        done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True)
        if done.returncode == 0 and "remount" not in " ".join(arguments):
            mounted.append(folder)
        return done.returncode == 0

    yield attempt
    for folder in reversed(mounted):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def browser(tmp_path):
    """A Chromium of this test alone."""
    import chromium
    driver = chromium.start(tmp_path / "profile")
    yield driver
    driver.quit()


def conformance_program(times, *options):
    """A fixture: the program with the echo contracts of the Engine.IO and Socket.IO documents."""
    def program():
        started = Conformance(times, *options)
        yield started
        started.stop()
    return pytest.fixture(scope="session")(program)


conformance = conformance_program(CALM)
compressing = conformance_program(CALM, "--compression")
asking = conformance_program(ASKING)
impatient = conformance_program(IMPATIENT)
hasty = conformance_program(HASTY)
