"""How schemathesis speaks to the gateway."""

import itertools
from pathlib import Path

import schemathesis
from hypothesis import strategies
from schemathesis.core import NotSet
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

PLACES = itertools.count(1)


class Elsewhere(HTTPConnection):
    """From another loopback address each time: ten wrong keys of one are all that are looked at."""

    def connect(self):
        number = next(PLACES) % 0xFFFFFF
        self.source_address = (f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255 or 1}", 0)
        super().connect()


HTTPConnectionPool.ConnectionCls = Elsewhere


RECEIVER = Path("receiver").read_text()
MAILS = [
    b"Subject: hello\r\n\r\nhello\r\n",
    b"\r\n",
    b"X-Postgate-Tag: orders\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\nhello\n--a--\n",
]
schemathesis.openapi.media_type("message/rfc822", strategies.sampled_from(MAILS))
# The one in force, so that it stays in force, and some that are none.
FILES = [Path("gateway/postgate.toml").read_bytes(), b"", b"[server]\nnobody = 1\n", b"[", b"\xff"]
schemathesis.openapi.media_type("application/toml", strategies.sampled_from(FILES))


@schemathesis.hook
def after_call(context, case, response):
    """Notes what was answered: a call that was never answered well was not looked at."""
    with open("answers", "a") as answers:
        print(response.status_code, case.operation.label, file=answers)


@schemathesis.hook
def before_call(context, case, kwargs):
    """What no schema can say; what deletes much is only tried, or soon nothing would be there."""
    path, body = case.operation.path, case.body
    if path.endswith("/purge") and isinstance(body, NotSet):
        case.body, case.media_type = {"dry_run": True}, "application/json"
    if isinstance(body, dict) and (path.endswith("/purge") or body.get("all") or body.get("action") == "delete"):
        if body.get("dry_run", False) is False:
            body["dry_run"] = True
    if path.endswith("/messages") and case.meta and case.meta.generation.mode.is_positive:
        is_mail = case.media_type == "message/rfc822"
        case.query = {"from": "app@example.com", "to": [RECEIVER]} if is_mail else {}
