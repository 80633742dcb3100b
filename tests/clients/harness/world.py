"""What the clients meet: the real gateway, a receiver behind it, and everything's end.

Each program runs in a session of its own below one temporary directory, and
`World.close` ends those, and only those, whatever happened before.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from harness.cases import ROUTE_DOMAIN


class Broken(Exception):
    """The world does not work; nothing can be said about clients."""


@dataclass
class Arrival:
    """A request, as it came over the wire."""

    method: str
    target: str
    headers: dict
    body: bytes


class Receiver(ThreadingHTTPServer):
    """Records every request and answers 200."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.arrivals = []
        self.news = threading.Condition()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.server.news:
            self.server.arrivals.append(Arrival(self.command, self.path, headers, body))
            self.server.news.notify_all()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_PUT = do_PATCH = do_GET = do_DELETE = answer

    def log_message(self, *_):
        pass


class World(ExitStack):
    """A temporary directory and the processes that live in it."""

    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="postgate-clients-"))
        self.callback(shutil.rmtree, self.directory, ignore_errors=True)
        # Other users' processes, such as a relay's, look into it.
        self.directory.chmod(0o755)

    def fresh(self, name):
        path = self.directory / name
        path.mkdir()
        return path

    def run(self, directory, *command, **environment):
        """Starts a program; what it says goes to files in the directory."""
        with open(directory / "stdout", "wb") as output, open(directory / "stderr", "wb") as errors:
            process = subprocess.Popen(
                [str(word) for word in command], cwd=directory, env={**os.environ, **environment},
                stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True)
        process.errors = directory / "stderr"
        self.callback(end, process)
        return process


class Gateway:
    """The gateway and its protocol log."""

    def __init__(self, world, program, cases, listeners):
        self.directory = world.fresh("gateway")
        (self.directory / "postgate.toml").write_text(configuration(cases, listeners))
        self.process = world.run(self.directory, program, "serve", "--config", "postgate.toml")
        pattern = re.compile(r"listens on (\S+:\d+)")

        def listening():
            found = pattern.findall((self.directory / "stdout").read_text())
            return found if len(found) == len(listeners) else None
        addresses = wait_for(listening, "the gateway listens", self.process)
        self.ports = {name: int(address.rpartition(":")[2]) for name, address in zip(listeners, addresses)}

    def stop(self):
        """Ends it in order, so that its log is whole."""
        self.process.terminate()
        self.process.wait(60)

    def log(self):
        logs = sorted((self.directory / "postgate-data/log").glob("protocol-*.log"))
        return "".join(path.read_text(errors="replace") for path in logs)

    def is_idle(self):
        """Whether all it acknowledged has come to an end."""
        log = self.log()
        ended = set(re.findall(r" \* (\S+) (?:delivered|failed)", log))
        return ended.issuperset(re.findall(r" > 250 2\.\S+ .*queued as (\w+)", log))

    def dialogues(self):
        """Each transaction, as lines of the protocol log, by reverse-path."""
        sessions, said = {}, {}
        for line in self.log().splitlines():
            _, session, way, text = line.split(" ", 3)
            if way == "<" and (begun := re.match(r"MAIL FROM: ?<?([^ >]*)", text, re.IGNORECASE)):
                sessions[session] = begun[1]
            if session in sessions:
                said.setdefault(sessions[session], []).append(f"{way} {text}")
        return said


def configuration(cases, listeners):
    blocks = [f'[[listener]]\naddress = "127.0.0.1:0"\nprotocol = "{protocol}"' for protocol in listeners.values()]
    blocks += [f"""\
[[route]]
recipient = "{case.recipient}"
url = "{case.url}"
payload = "{getattr(case, 'payload', 'body')}"
header_control = true""" for case in cases if case.recipient.endswith("@" + ROUTE_DOMAIN)]
    return "\n".join([*blocks, """
[server]
shutdown_timeout = "20s"
[egress]
allow = ["127.0.0.0/8"]
[limits]
connection_rate = "1000000/m"
messages = 1000000
[delivery]
retry = ["200ms"]
"""])


def end(process):
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    # The session's last ones, which its leader may have left behind.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True


def wait_for(condition, what, process=None, seconds=30):
    """Waits until the condition answers; its answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        if process and process.poll() is not None:
            break
        time.sleep(0.02)
    said = process.errors.read_text(errors="replace")[-1000:] if process else ""
    raise Broken(f"waited in vain until {what} {said}")
