"""A receiver of Stepwell's webhooks. It needs nothing but Python, and forgets nothing.

    SECRET=whsec_... python webhook_receiver.py

It believes nobody who cannot sign, takes nothing twice, and lets nothing old follow what is newer.
What has arrived is in a database before it is answered for: whoever does the work reads it there.
"""

import base64
import hashlib
import hmac
import json
import os
import sqlite3
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

TOLERANCE_SECONDS = 300
LONGEST_BODY = 20_000

INBOX = """
    create table if not exists inbox (
        message_id text primary key, subject text, version integer, body text, outcome text
    );
    create index if not exists inbox_subject on inbox (subject, version);
"""


class Refused(Exception):
    """It was not sent by whom we expect, or not now."""


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """What was sent, if it was signed with the secret within five minutes of now.

    The signature is over the octets as they came: verify before you parse. Raises Refused.
    """
    try:
        message_id, stamp = headers["webhook-id"], headers["webhook-timestamp"]
        signatures = headers["webhook-signature"].split()
        age = abs(time.time() - int(stamp))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Refused from None
    if age > TOLERANCE_SECONDS:
        raise Refused
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256)
    expected = "v1," + base64.b64encode(digest).decode()
    # Two signatures come while a secret is being changed for another.
    if not any(hmac.compare_digest(one.encode(), expected.encode()) for one in signatures):
        raise Refused
    sent: dict[str, Any] = json.loads(body)
    return sent


class Inbox:
    """What has arrived. Keep a message for thirty days: so long it can be sent again."""

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path)
        self._db.executescript(INBOX)

    def take(self, message_id: str, sent: Mapping[str, Any]) -> str:
        """Keep a message, and say what it is worth: `new`, `stale` or `again`.

        It is `again` when it has been here before, and `stale` when something newer of the same
        subject has been. The answer is true after a crash, because it is written down first.
        """
        data = sent["data"]
        subject = f"{sent['type'].partition('.')[0]} {data['id']}"
        with self._db:  # one transaction
            (newest,) = self._db.execute(
                "select max(version) from inbox where subject = ?", (subject,)
            ).fetchone()
            is_stale = None not in {newest, data["version"]} and data["version"] < newest
            outcome = "stale" if is_stale else "new"
            row = (message_id, subject, data["version"], json.dumps(sent), outcome)
            kept = self._db.execute("insert or ignore into inbox values (?, ?, ?, ?, ?)", row)
        return outcome if kept.rowcount else "again"


class Receiver(BaseHTTPRequestHandler):
    """Answers at once; what is `new` is worked on afterwards, from the inbox."""

    secret = os.environ.get("SECRET", "")
    inbox: Inbox

    def do_POST(self) -> None:
        """Take one message."""
        # What is longer than anything of ours is cut off, and then no signature matches.
        length = min(int(self.headers.get("content-length") or 0), LONGEST_BODY)
        try:
            sent = verify(self.secret, dict(self._lower()), self.rfile.read(length))
        except Refused:
            self._answer(HTTPStatus.BAD_REQUEST)
            return
        if sent["type"] == "endpoint.verification":
            outcome = "proof"
            self._answer(HTTPStatus.OK, sent["data"]["nonce"].encode())
        else:
            outcome = self.inbox.take(self.headers["webhook-id"], sent)
            self._answer(HTTPStatus.OK)
        print(outcome, sent["type"], sent["data"]["resource"], sent["data"]["version"], flush=True)

    def _lower(self) -> list[tuple[str, str]]:
        return [(name.lower(), value) for name, value in self.headers.items()]

    def _answer(self, status: HTTPStatus, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    Receiver.inbox = Inbox(os.environ.get("INBOX", "inbox.sqlite3"))
    address = ("127.0.0.1", int(os.environ.get("PORT", "9000")))
    HTTPServer(address, Receiver).serve_forever()
