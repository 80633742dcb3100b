"""A name that is public when it is judged and private when it is asked again.

Runs in a network of its own, which has loopback and one public address (see `run`):
the name server of dnslib at port 53, a receiver at the public and one at the private
address, and the gateway, which is told to keep no connection.
"""

import re
import smtplib
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from dnslib import QTYPE, RCODE, RR, A
from dnslib.server import BaseResolver, DNSServer

PUBLIC, PRIVATE = "93.184.216.34", "127.0.0.1"
PORT = 8080


class Rebinding(BaseResolver):
    """Tells the public address and the private one by turns, good for no time at all."""

    def __init__(self):
        self.told = []

    def resolve(self, request, handler):
        reply, name = request.reply(), str(request.q.qname)
        if name != "rebind.example.":
            reply.header.rcode = RCODE.NXDOMAIN
        elif request.q.qtype == QTYPE.A:
            address = (PUBLIC, PRIVATE)[len(self.told) % 2]
            self.told.append(address)
            reply.add_answer(RR(name, QTYPE.A, rdata=A(address), ttl=0))
        return reply


class Count(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.hosts.append(self.headers["Host"])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def receiver(address):
    server = ThreadingHTTPServer((address, PORT), Count)
    server.hosts = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main(program):
    resolver = Rebinding()
    for is_tcp in (False, True):
        DNSServer(resolver, address="127.0.0.1", port=53, tcp=is_tcp).start_thread()
    outside, inside = receiver(PUBLIC), receiver(PRIVATE)
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "postgate.toml").write_text("""
[[listener]]
address = "127.0.0.1:2525"
[delivery]
retry = ["1h"]
max_posts_per_connection = 1
""")
        gateway = subprocess.Popen([program, "serve"], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            while "listens on" not in (line := gateway.stdout.readline()):
                assert line, "the gateway did not start"
            verdicts = [post(directory, number) for number in range(8)]
        finally:
            gateway.terminate()
            gateway.wait(30)
    refused = [verdict for verdict in verdicts if "egress-denied: 127.0.0.1 is loopback" in verdict]
    delivered = [verdict for verdict in verdicts if verdict.startswith("delivered")]
    assert len(refused) == 4 and len(delivered) == 4, verdicts
    assert len(resolver.told) == 8, f"one question a connection: {resolver.told}"
    assert outside.hosts == [f"rebind.example:{PORT}"] * 4, outside.hosts
    assert inside.hosts == [], inside.hosts


def post(directory, number):
    """Posts once; the verdict."""
    with smtplib.SMTP("127.0.0.1", 2525, timeout=30) as smtp:
        smtp.ehlo()
        smtp.mail("app@app.example")
        smtp.rcpt("post@postgate.local")
        url = f"http://rebind.example:{PORT}/{number}"
        code, reply = smtp.data(f"X-Postgate-Url: {url}\r\nX-XsHttp-Content-Type: text/plain\r\n\r\nhello\r\n")
        assert code == 250, reply
    name = reply.decode().split()[-1].rstrip(".")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        log = "".join(path.read_text() for path in Path(directory).glob("postgate-data/log/protocol-*.log"))
        if found := re.search(rf" \* {name} ((?:delivered|deferred|failed) .*|failed: .*)", log):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"no verdict on {name}: {log}")


main(sys.argv[1])
