"""The receivers, the gateway before them, and what must be true of both afterwards."""

import gzip
import os
import re
import smtplib
import socket
import subprocess
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness.world import Broken, end, listens, wait_for

# Longest time until every post has its first verdict, in seconds.
LIMIT = 60
FAILED = {400, 404, 405, 406, 409, 410, 411, 413, 414, 415, 422, 431, 451}


def ports(count):
    """So many ports that were free just now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def expand(case):
    """Each post of a case: its URL, method and body."""
    url = f"{case.get('scheme', 'http')}://127.0.0.1:{case['port']}{case.get('path', '/hook')}"
    method, body = case.get("method", "post"), "x" * case.get("octets", 100)
    if "statuses" in case:
        first, last = case["statuses"]
        return [(url.format(status=status), method, body) for status in range(first, last + 1)]
    return [(url, method, body)] * case.get("posts", 1)


def expected(case, number):
    """What the log must say of a case's post."""
    if "statuses" not in case:
        return case["verdict"]
    status = case["statuses"][0] + number
    if status < 300:
        return "delivered in"
    return f"failed: {status}" if status < 400 or status in FAILED else f"deferred for .*: {status}"


class Upstream(ThreadingHTTPServer):
    """Answers 200 to everything, to what begins with /slow/ after five seconds; records what came."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.requests = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"{self.requestline}\n" + "".join(f"{name}: {value}\n" for name, value in self.headers.items())
        self.server.requests.setdefault(self.headers["Postgate-Id"], []).append((head, body))
        if self.path.startswith("/slow/"):
            time.sleep(5)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Nginx:
    """nginx with a server for each case."""

    def __init__(self, world, cases, upstream):
        self.directory = world.fresh("nginx")
        self.files = self.certificates()
        if not cases:
            self.process = None
            return
        for case, port in zip(cases, ports(len(cases))):
            case["port"] = port
        (self.directory / "nginx.conf").write_text(self.configuration(cases, upstream))
        # Started as root it would look for a user of its own, who cannot read this directory.
        self.process = world.run(self.directory, "nginx", "-p", self.directory, "-e", "error.log", "-c", "nginx.conf")
        wait_for(lambda: all(listens(case["port"]) for case in cases), "nginx listens", self.process)

    def certificates(self):
        """An authority, a certificate for the address of all, and one for us."""
        def openssl(*words):
            done = subprocess.run(["openssl", *words], cwd=self.directory, capture_output=True, text=True)
            if done.returncode:
                raise Broken(done.stderr)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Private Authority")
        for name, extra in (("server", "subjectAltName=IP:127.0.0.1"), ("client", "extendedKeyUsage=clientAuth")):
            openssl("req", "-x509", *key, "-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", f"{name}.key", "-out",
                    f"{name}.pem", "-subj", f"/CN={name}", "-addext", extra, "-addext", "basicConstraints=critical,CA:FALSE")
        return {"ca": self.directory / "ca.pem", "cert": self.directory / "client.pem", "key": self.directory / "client.key"}

    def configuration(self, cases, upstream):
        def server(case):
            text = case["server"].replace("{upstream}", upstream.url)
            for name, path in self.files.items():
                text = text.replace(f"{{{name}}}", str(path))
            return (f"server {{ listen 127.0.0.1:{case['port']} {case.get('listen', '')};\n"
                    f"access_log access-{case['port']}.log told;\n{text} }}")
        servers = "\n".join(server(case) for case in cases)
        user = "user root;" if os.getuid() == 0 else ""
        return f"""daemon off; {user} worker_processes 2; pid nginx.pid; error_log error.log warn;
events {{ worker_connections 1024; }}
http {{
log_format told '$server_protocol $ssl_protocol $status $request connection $connection request $connection_requests '
    'post $http_postgate_id attempt $http_postgate_attempt $ssl_client_verify';
# What has no TLS has no protocol and no certificate.
map $ssl_protocol $x {{ default $ssl_protocol; }}
client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
client_max_body_size 20m; proxy_http_version 1.1; keepalive_requests 10000;
ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate server.pem; ssl_certificate_key server.key;
{servers}
}}"""

    def stop(self):
        """Ends it, so that its logs are whole."""
        if self.process:
            end(self.process)

    def log(self, case):
        path = self.directory / f"access-{case['port']}.log"
        return path.read_text().splitlines() if path.exists() else []


class Httpbin:
    """httpbin behind gunicorn, at an address for each case."""

    def __init__(self, world, venv, cases):
        if not cases:
            return
        binds = []
        for case, port in zip(cases, ports(len(cases))):
            case["port"] = port
            binds += ["--bind", f"127.0.0.1:{port}"]
        directory = world.fresh("httpbin")
        process = world.run(directory, venv / "bin/gunicorn", "--worker-class", "gthread", "--workers", "1",
                            "--threads", "40", "--keep-alive", "10", "--no-control-socket", *binds, "httpbin:app")
        wait_for(lambda: all(listens(case["port"]) for case in cases), "httpbin listens", process)


class Gateway:
    """The gateway with a destination for each case, and its protocol log."""

    def __init__(self, world, program, cases, files):
        self.directory = world.fresh("gateway")
        path = self.directory / "postgate.toml"
        path.write_text(configuration(cases, files))
        path.chmod(0o600)
        self.process = world.run(self.directory, program, "serve", "--config", "postgate.toml")
        pattern = re.compile(r"SMTP listens on (\S+:\d+)|listens on (\S+:\d+)")

        def listening():
            return pattern.search((self.directory / "stdout").read_text())
        found = wait_for(listening, "the gateway listens", self.process)
        self.port = int((found[1] or found[2]).rpartition(":")[2])
        self.smtp = None

    def post(self, url, method, body):
        """Hands in a mail for a URL; the id of its post."""
        if not self.smtp:
            self.smtp = smtplib.SMTP("127.0.0.1", self.port, timeout=30)
            self.smtp.ehlo()
        for code, reply in self.smtp.mail("app@app.example"), self.smtp.rcpt("post@postgate.local"):
            if code != 250:
                raise Broken(f"{url}: {code} {reply}")
        lines = "\r\n".join(body[at:at + 900] for at in range(0, len(body), 900))
        # White space is no part of a form.
        code, reply = self.smtp.data(
            f"X-Postgate-Url: {url}\r\nX-Postgate-Method: {method}\r\n"
            f"X-XsHttp-Content-Type: application/x-www-form-urlencoded\r\n\r\n{lines}\r\n")
        if code != 250:
            raise Broken(f"{url}: {code} {reply}")
        return reply.decode().split()[-1].rstrip(".")

    def log(self):
        logs = sorted((self.directory / "postgate-data/log").glob("protocol-*.log"))
        return "".join(path.read_text(errors="replace") for path in logs)

    def verdicts(self, posts):
        """The first verdict on each post."""
        deadline = time.monotonic() + LIMIT
        while True:
            said = {}
            for post, verdict in re.findall(r" \* (\w+) ((?:delivered|deferred|failed|held)\b.*)", self.log()):
                said.setdefault(post, verdict)
            if all(post in said for post in posts):
                return said
            if time.monotonic() > deadline:
                missing = [post for post in posts if post not in said]
                raise Broken(f"no verdict on {len(missing)} posts: {missing[:3]}\n{self.log()[-3000:]}")
            time.sleep(0.1)

    def stop(self):
        if self.smtp:
            self.smtp.close()
        self.process.terminate()
        if self.process.wait(60):
            raise Broken("the gateway did not end in order")


def configuration(cases, files):
    def destination(case):
        keys = case.get("destination", "")
        for name, path in files.items():
            keys = keys.replace(f"{{{name}}}", str(path))
        return f"[[destination]]\nmatch = \"{case.get('scheme', 'http')}://127.0.0.1:{case['port']}\"\n{keys}\n"
    return """
[[listener]]
address = "127.0.0.1:0"
[api]
address = "off"
[server]
shutdown_timeout = "20s"
[egress]
allow = ["127.0.0.0/8"]
[limits]
connection_rate = "1000000/m"
messages = 1000000
[delivery]
retry = ["1h"]
[[auth]]
name = "basic"
type = "basic"
username = "shop"
password = "sesame"
[[auth]]
name = "bearer"
type = "bearer"
token = "sesame"
""" + "".join(destination(case) for case in cases if case.get("destination"))


def complaints(case, posts, verdicts, nginx, upstream):
    """What is not as the case says."""
    wrong = []
    for number, post in enumerate(posts):
        if not re.match(expected(case, number), verdicts[post]):
            wrong.append(f"{post}, where {expected(case, number)!r} is expected: {verdicts[post]}")
    if case["receiver"] != "nginx":
        return wrong
    log = nginx.log(case)
    for pattern in case.get("seen", []):
        wrong += [f"{pattern!r} is not in {line!r}" for line in log if not re.search(pattern, line)]
        if len(log) < len(posts):
            wrong.append(f"{len(log)} of {len(posts)} requests came")
    for pattern, count in case.get("counts", {}).items():
        if (found := sum(pattern in line for line in log)) != count:
            wrong.append(f"{found} lines hold {pattern!r}, where {count} should")
    wrong += [f"{post} came again: {line}" for post in posts for line in log
              if f"post {post} attempt" in line and f"post {post} attempt 1 " not in line]
    if "{upstream}" in case["server"] and case["verdict"].startswith("delivered"):
        wrong += [each for post in posts for each in differences(case, upstream.requests.get(post, []))]
    return wrong


def differences(case, requests):
    """What came to the upstream must be what was sent, once."""
    if len(requests) != 1:
        return [f"{len(requests)} requests came to the upstream"]
    head, body = requests[0]
    if "Content-Encoding: gzip" in head:
        body = gzip.decompress(body)
    wrong = [f"{pattern!r} is not in {head!r}" for pattern in case.get("upstream", []) if not re.search(pattern, head)]
    if body != b"x" * case.get("octets", 100):
        wrong.append(f"another body came: {body[:50]}")
    return wrong
