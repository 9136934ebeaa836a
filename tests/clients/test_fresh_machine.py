"""A fresh machine: what the build needs is named, or installed, before anything is built."""

import os
import subprocess

import pytest

from process import ROOT


def need(path, *what):
    done = subprocess.run(["/bin/bash", ROOT / "scripts/need", *what], env={"PATH": str(path), "HOME": str(path)},
                          capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


def program(folder, name, text):
    file = folder / name
    file.write_text(f"#!/bin/bash\n{text}\n")
    file.chmod(0o755)


def test_everything_that_is_missing_is_named_at_once(tmp_path):
    status, said = need(tmp_path, "cargo", "cc", "node")
    assert status == 1
    for part in ("rustup.rs", "C compiler", "gcc and libc6-dev", "node:"):
        assert part in said, said


@pytest.mark.parametrize("version, fits", [("cargo 1.85.0 (d73d2caf9 2024-12-31)", False), ("cargo 1.90.0", True),
                                           ("cargo 1.123.4", True)])
def test_a_rust_that_is_too_old_is_named(tmp_path, version, fits):
    program(tmp_path, "cargo", f"echo '{version}'")
    status, said = need(tmp_path, "cargo")
    assert (status == 0) == fits, said
    assert fits or ("1.90" in said and "rustup update" in said and version.split()[1] in said)


def test_a_compiler_that_cannot_link_counts_as_none(tmp_path):
    program(tmp_path, "cc", "exit 1")
    for tool in ("mktemp", "rm"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    assert need(tmp_path, "cc")[0] == 1
    program(tmp_path, "cc", "exit 0")
    assert need(tmp_path, "cc") == (0, "")


def test_as_root_on_debian_the_compiler_is_installed(tmp_path):
    if os.geteuid() != 0:
        pytest.fail("this test is about root: run it as root")
    for tool in ("mktemp", "rm", "chmod"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    calls = tmp_path / "calls"
    program(tmp_path, "apt-get", f'echo "$@" >> {calls}\n[[ $1 == install ]] || exit 0\n'
                                 f"printf '#!/bin/bash\\nexit 0\\n' > {tmp_path}/cc; chmod +x {tmp_path}/cc")
    status, said = need(tmp_path, "cc")
    assert (status, said) == (0, "relais: installing gcc libc6-dev\n")
    update, install = calls.read_text().splitlines()
    assert update.startswith("update") and install.endswith("gcc libc6-dev")


def test_the_build_asks_before_it_begins(tmp_path):
    """`make build` stops at what is missing, before the build cache and the compiler are touched."""
    done = subprocess.run(["make", "-n", "build"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    lines = done.stdout.splitlines()
    order = [next(n for n, line in enumerate(lines) if part in line) for part in ("scripts/need cargo cc", "cargo build")]
    assert order == sorted(order), lines
