"""What is sent: each client, to each recipient form, each body."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path

CLIENTS = Path(__file__).parents[1]
GATEWAY_DOMAIN = "postgate.local"
ROUTE_DOMAIN = "hooks.example"
SENDER_DOMAIN = "client.example"


def labels(url):
    encoded = base64.b32encode(url.encode()).decode().rstrip("=").lower()
    return "post@" + "".join(label + "." for label in re.findall(".{1,63}", encoded)) + "u." + GATEWAY_DOMAIN


def encoded(url):
    return f"post+{base64.urlsafe_b64encode(url.encode()).decode().rstrip('=')}@{GATEWAY_DOMAIN}"


def escaped(url):
    def escape(match):
        return f"={ord(match[0]):02X}"
    return f"post={re.sub('[^A-Za-z0-9.-]', escape, url)}@{GATEWAY_DOMAIN}"


# The recipient that leads to a URL. A route has its own name for it.
FORMS = {
    "route": lambda url: f"post-{url.rpartition('=')[2]}@{ROUTE_DOMAIN}",
    "labels": labels,
    "encoded": encoded,
    "escaped": escaped,
    "header": lambda url: f"post@{GATEWAY_DOMAIN}",
    "quoted": lambda url: f'"post:{url}"@{GATEWAY_DOMAIN}',
    "literal": lambda url: f"post@[{url}]",
    "direct": lambda url: f"post@{url}",
}

# The files of these names, and what they are.
BODIES = {
    "form": "application/x-www-form-urlencoded",
    "long line": "application/json",
    "UTF-8": "application/json",
}


def body_file(name):
    return CLIENTS / "bodies" / name.lower().replace(" ", "-")


@dataclass
class Case:
    """One mail of one client. Its id is in the sender, the URL and a request header."""

    client: str
    form: str
    body: str
    id: str
    receiver: str

    @property
    def sender(self):
        return f"{self.id}@{SENDER_DOMAIN}"

    @property
    def target(self):
        # Short: some libraries hold a local part to 64 octets.
        return f"/h?a=1&x={self.id}"

    @property
    def url(self):
        return self.receiver + self.target

    @property
    def recipient(self):
        return FORMS[self.form](self.url)

    @property
    def content_type(self):
        return BODIES[self.body]

    @property
    def headers(self):
        headers = [f"X-XsHttp-Content-Type: {self.content_type}", f"X-XsHttp-X-Case: {self.id}"]
        return [*headers, f"X-Postgate-Url: {self.url}"] if self.form == "header" else headers

    @property
    def octets(self):
        return body_file(self.body).read_bytes()


def plan(clients, receiver):
    """All cases of the clients; a client may be limited to some forms."""
    return [
        Case(client["name"], form, body, f"{number}-{form_number}-{body_number}", receiver)
        for number, client in enumerate(clients, 10)
        for form_number, form in enumerate(FORMS)
        if form in client.get("forms", FORMS)
        for body_number, body in enumerate(BODIES)
    ]
