"""Runs a Redis of its own and daphne in the current folder, and ends both when it is told to end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def main():
    host, port = sys.argv[1].split(":")
    redis_socket = Path("redis.sock").resolve()
    redis = ["redis-server", "--port", "0", "--unixsocket", str(redis_socket), "--save", "", "--appendonly", "no"]
    children = [subprocess.Popen(redis)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        deadline = time.monotonic() + 10
        while not redis_socket.exists():
            if time.monotonic() > deadline or children[0].poll() is not None:
                sys.exit("redis-server did not start")
            time.sleep(0.02)
        daphne = [sys.executable, "-m", "daphne", "--bind", host, "--port", port, "--verbosity", "0"]
        environment = os.environ | {"FANOUT_REDIS": f"unix://{redis_socket}", "PYTHONPATH": str(Path(__file__).parent)}
        children.append(subprocess.Popen([*daphne, "server:application"], env=environment))
        sys.exit(children[1].wait())
    finally:
        for child in reversed(children):
            child.terminate()
            child.wait()


main()
