"""A report of a failure, through a real Postfix to where its sender takes mail.

The gateway posts to a receiver that refuses, and hands the report to Postfix; that
hands it to a second gateway, whose route for the sender posts it to a receiver,
and what arrives there is read as RFC 3464 says.
"""

import email
import re
import smtplib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

from harness.cases import ROUTE_DOMAIN
from harness.relays import postfix
from harness.world import Gateway, Receiver, wait_for

SENDER = f"shop@{ROUTE_DOMAIN}"
MAIL = f"From: {SENDER}\r\nSubject: Order 17\r\n\r\nx\r\n"


class Refusal(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(410, "no such shop")

    def log_message(self, *_):
        pass


def report(world, program):
    """What is wrong with the report, and how it was taken."""
    receiver = Receiver()
    route = SimpleNamespace(recipient=f"*@{ROUTE_DOMAIN}", url=f"{receiver.url}/report", payload="raw")
    relay = postfix(world, {"name": "postfix", "listener": "smtp"}, Gateway(world, program, [route], {"smtp": "smtp"}))
    refusal = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    Thread(target=refusal.serve_forever, daemon=True).start()
    directory = world.fresh("reporting")
    (directory / "postgate.toml").write_text(f"""
[server]
hostname = "gateway.example"
[[listener]]
address = "127.0.0.1:0"
[api]
address = "off"
[egress]
allow = ["127.0.0.0/8"]
[bounce]
relay = "smtp://127.0.0.1:{relay.port}"
""")
    process = world.run(directory, program, "serve", "--config", "postgate.toml")
    listens = re.compile(r"listens on \S+:(\d+)")
    port = wait_for(lambda: listens.search((directory / "stdout").read_text()), "the gateway listens", process)[1]
    with smtplib.SMTP("127.0.0.1", int(port)) as client:
        client.ehlo()
        client.mail(SENDER)
        # As it is: the library would cut the URL out.
        client.docmd("RCPT", f"TO:<post@http://127.0.0.1:{refusal.server_address[1]}/shop>")
        client.data(MAIL)
    arrival = wait_for(lambda: receiver.arrivals, "the report arrives")[0]
    return complaints(email.message_from_bytes(arrival.body)), "a report by RFC 3464"


def complaints(message):
    """What a reader of reports would miss."""
    parts = message.get_payload()
    kinds = [part.get_content_type() for part in parts]
    if message.get_param("report-type") != "delivery-status" or kinds[1:] != ["message/delivery-status", "text/rfc822-headers"]:
        return [f"it is no report: {message.get_content_type()} of {kinds}"]
    groups = parts[1].get_payload()
    found = {name.lower(): value for group in groups for name, value in group.items()}
    wanted = {"reporting-mta": "dns; gateway.example", "action": "failed", "status": r"5\.\d+\.\d+",
              "final-recipient": r"rfc822; ?post@http://.*/shop", "diagnostic-code": "http; 410 .*"}
    wrong = [f"{name}: {found.get(name)}" for name, pattern in wanted.items()
             if not re.fullmatch(pattern, found.get(name, ""), re.DOTALL)]
    if len(groups) != 2:
        wrong.append(f"{len(groups)} groups of fields")
    if "Subject: Order 17" not in parts[2].get_payload():
        wrong.append("the header of the mail is not given back")
    return wrong
