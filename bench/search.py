#!/usr/bin/env python3
"""Searches among many messages, and how long an upgrade takes that notes their words: `bench/search.py [--database URL]`.

Needs a built server (RELAIS_BIN, else target/release/relais) and, for PostgreSQL, psql and an empty database.
"""

import argparse
import json
import os
import random
import sqlite3
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

from harness import free_port

ROOT = Path(__file__).resolve().parent.parent
RELAIS = os.environ.pop("RELAIS_BIN", str(ROOT / "target/release/relais"))
PASSWORD = "correct horse battery"
ROUNDS = 50
QUESTIONS = [
    ("a business number", "FA-2026-0042"),
    ("a word that nobody wrote", "parpaing"),
    ("a word in one message of ten", "chantier"),
    ("two letters", "ch"),
    ("three words", "devis toiture chantier"),
    ("inside a Japanese sentence", "会議室"),
]
WORDS = "béton toiture devis livraison réunion demain facture plan étage client acompte grue équipe mortier".split()


def message(chance, number):
    words = chance.choices(WORDS, k=8)
    if number % 10 == 0:
        words.append("chantier")
    if number % 50 == 0:
        words.append("明日の会議室で")
    words.append(f"FA-{2000 + chance.randrange(27)}-{chance.randrange(10_000):04}")
    return " ".join(words)


class Server:
    def __init__(self, folder, database):
        self.address = f"127.0.0.1:{free_port()}"
        self.environment = {**os.environ, "RELAIS_AUTH_MODE": "required"}
        if database:
            self.environment["RELAIS_DATABASE_URL"] = database
        self.data = ["--data", str(folder / "data")]
        self.process = None

    def command(self, *arguments, given=None):
        command = [RELAIS, *self.data, *arguments]
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, check=True, env=self.environment
        )
        return done.stdout.split()[-1]

    def start(self):
        command = [RELAIS, *self.data, "serve", "--listen", self.address]
        self.process = subprocess.Popen(command, env=self.environment, stderr=subprocess.DEVNULL)
        while True:
            try:
                urllib.request.urlopen(f"http://{self.address}/healthz", timeout=5).close()
                return
            except OSError:
                time.sleep(0.02)

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def call(self, token, method, path, body=None):
        request = urllib.request.Request(
            f"http://{self.address}/api/chat/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]


def fill(folder, database, count):
    """Messages as an earlier version left them: without words."""
    chance = random.Random(7)
    rows = [(number, f"m{number}", number, message(chance, number)) for number in range(2, count + 2)]
    after = [
        "UPDATE chat_conversations SET messages = (SELECT COUNT(*) FROM chat_messages)",
        "UPDATE chat_backfill SET below = (SELECT MAX(key) + 1 FROM chat_messages) WHERE task = 'words'",
    ]
    insert = (
        "INSERT INTO chat_messages (key, id, number, content, conversation_id, sender_id, mentions, attachments, "
        "created_at) SELECT {values}, conversation_id, sender_id, '', '', created_at {rest} WHERE m.key = 1"
    )
    if not database:
        with sqlite3.connect(folder / "data" / "relais.db") as connection:
            connection.executemany(insert.format(values="?, ?, ?, ?", rest="FROM chat_messages m"), rows)
            for statement in after:
                connection.execute(statement)
        connection.close()
        return
    script = ["CREATE TEMP TABLE given (key BIGINT, id TEXT, number BIGINT, content TEXT);", "COPY given FROM STDIN;"]
    script += ["\t".join(map(str, row)) for row in rows] + ["\\."]
    script.append(insert.format(values="g.key, g.id, g.number, g.content", rest="FROM given g, chat_messages m") + ";")
    script += [f"{statement};" for statement in after]
    subprocess.run(["psql", "-q", "-v", "ON_ERROR_STOP=1", database], input="\n".join(script), text=True, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", help="postgres://…; SQLite unless given")
    parser.add_argument("--messages", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        server = Server(folder, options.database)
        people = []
        for name in ("lea", "paul"):
            email = f"{name}@relais.test"
            user = server.command("user", "add", "--email", email, "--password-stdin", given=PASSWORD)
            people.append((user, server.command("token", "--email", email)))
        (_, lea), (paul_id, paul) = people
        server.start()
        invited = server.call(lea, "POST", "invitations", {"to_user_id": paul_id})
        path = f"invitations/{invited['invitation_id']}/respond"
        conversation = server.call(paul, "PUT", path, {"action": "accept"})["conversation_id"]
        server.call(lea, "POST", f"conversations/{conversation}/messages", {"content": "un"})
        server.stop()
        fill(folder, options.database, options.messages)
        server.start()
        began = time.monotonic()
        while not server.call(paul, "GET", "search?q=un")["complete"]:
            time.sleep(0.1)
        print(f"words of {options.messages:,} messages noted in {time.monotonic() - began:.1f} s")
        for what, question in QUESTIONS:
            path, took, found = f"search?q={urllib.parse.quote(question)}&limit=50", [], 0
            for _ in range(ROUNDS):
                began = time.monotonic()
                found = len(server.call(paul, "GET", path)["messages"])
                took.append((time.monotonic() - began) * 1000)
            took.sort()
            print(f"{what} ({question}): {found} found, p50 {took[ROUNDS // 2]:.1f} ms, worst {took[-1]:.1f} ms")
        server.stop()


if __name__ == "__main__":
    main()
