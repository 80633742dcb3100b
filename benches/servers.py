"""What benches/measure.py starts, loads and weighs; nothing is compared here.

Every program runs in a session of its own below one temporary directory, and
`Bench.close` ends those, and only those, whatever happened before.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

RECIPIENT = "bench@hooks.example"
# What Postfix accepts for this one waits, as if its receiver were down.
DEFERRED_RECIPIENT = "bench@down.example"
POSTFIX_DAEMONS = Path("/usr/lib/postfix/sbin")
TICK = os.sysconf("SC_CLK_TCK")


class Broken(Exception):
    """A load or a server that did not do its work."""


class Bench(ExitStack):
    """A temporary directory and the processes that live in it."""

    def __init__(self, binaries):
        super().__init__()
        self.binaries = Path(binaries).resolve()
        self.directory = Path(tempfile.mkdtemp(prefix="postgate-bench-"))
        self.callback(shutil.rmtree, self.directory, ignore_errors=True)
        # Other users' processes, such as Postfix's, look into it.
        self.directory.chmod(0o755)
        self.number = 0

    def fresh(self, name):
        self.number += 1
        path = self.directory / f"{name}-{self.number}"
        path.mkdir()
        return path

    @contextmanager
    def running(self, *command, stdin=False):
        self.number += 1
        errors = self.directory / f"errors-{self.number}"
        with errors.open("wb") as standard_error:
            process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=standard_error, start_new_session=True, text=True)
        process.errors = errors
        try:
            yield process
        finally:
            end(process)

    @contextmanager
    def gateway(self, url, protocol_log="full", payload="json", data=None, extra=""):
        directory = data or self.fresh("gateway")
        config = directory / "postgate.toml"
        config.write_text(f"""
[server]
data_dir = "{directory}/data"
shutdown_timeout = "2s"
[[listener]]
address = "127.0.0.1:0"
[limits]
connections = 20000
connections_per_address = 20000
connection_rate = "1000000/m"
messages = 1000000
[[route]]
recipient = "{RECIPIENT}"
url = "{url}"
payload = "{payload}"
[log]
protocol_log = "{protocol_log}"
{extra}
""")
        with self.running(self.binaries / "postgate", "serve", "--config", config) as process:
            line = process.stdout.readline()
            if "listens on" not in line:
                raise Broken(f"the gateway does not start {last_error(process.errors)}")
            process.port = int(line.split("127.0.0.1:")[1].split()[0])
            process.directory = directory
            try:
                yield process
            except Broken as error:
                raise Broken(f"{error} {last_error(process.errors)}") from None
            finally:
                # Nothing is delivered after the measurement, so nothing is waited for.
                process.kill()
        if data is None:
            shutil.rmtree(directory)

    @contextmanager
    def smtp_sink(self):
        port = free_port()
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        with self.running("smtp-sink", *user, f"127.0.0.1:{port}", 256) as process:
            wait_for_port(port)
            process.port = port
            yield process

    @contextmanager
    def http_sink(self, port=0, delay=0, spoken="plain"):
        """Where posts end; `control` tells how many there were."""
        with self.running(self.binaries / "examples/reference", "sink", port, delay, spoken) as process:
            process.url, process.control = process.stdout.readline().split()
            yield process

    def reference(self, *arguments):
        """Runs one of the bare programs; its seconds."""
        with self.running(self.binaries / "examples/reference", *arguments) as process:
            output = process.stdout.read()
            if not output:
                raise Broken(f"reference {arguments[0]} failed {last_error(process.errors)}")
        return float(output)

    @contextmanager
    def postfix(self, url):
        """A private Postfix: one port holds what it accepts, one posts it with curl or defers it."""
        root = self.fresh("postfix")
        accept, post = free_port(), free_port()
        write_postfix(root, accept, post, url)
        with self.running(POSTFIX_DAEMONS / "master", "-c", root / "etc", "-d") as process:
            wait_for_port(accept)
            wait_for_port(post)
            process.accepting, process.posting = accept, post
            yield process


def write_postfix(root, accept, post, url):
    for name in ("etc", "data", "spool"):
        (root / name).mkdir()
    (root / "etc/main.cf").write_text(f"""
compatibility_level = 3.6
queue_directory = {root}/spool
data_directory = {root}/data
command_directory = /usr/sbin
daemon_directory = {POSTFIX_DAEMONS}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination =
relay_domains = hooks.example, down.example
relay_transport = curl:
transport_maps = inline:{{ {{down.example = down:}} }}
defer_transports = down
minimal_backoff_time = 1h
maximal_backoff_time = 2h
curl_destination_recipient_limit = 1
curl_destination_concurrency_limit = 20
smtpd_client_connection_count_limit = 0
default_process_limit = 150
alias_maps =
""")
    services = """\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
error unix - - n - - error
retry unix - - n - - error
"""
    hold = "smtpd_recipient_restrictions=check_recipient_access,static:hold,permit"
    (root / "etc/master.cf").write_text(f"""\
127.0.0.1:{accept} inet n - n - - smtpd -o {hold}
127.0.0.1:{post} inet n - n - - smtpd
{services}
curl unix - n n - 20 pipe
  flags= user=nobody argv={shutil.which("curl")} -s -f -o /dev/null --data-binary @- {url}
""")
    shutil.chown(root / "data", "postfix")
    queues = "active bounce corrupt defer deferred flush hold incoming private saved trace"
    places = [(name, 0o700, None) for name in queues.split()]
    for name, mode, group in [*places, ("public", 0o710, "postdrop"), ("maildrop", 0o730, "postdrop")]:
        path = root / "spool" / name
        path.mkdir()
        path.chmod(mode)
        shutil.chown(path, "postfix", group)
    (root / "spool/pid").mkdir()


def last_error(path):
    lines = path.read_text(errors="replace").splitlines()
    return next((f"({line[:300]})" for line in reversed(lines) if " INFO " not in line), "")


def why_no_postfix():
    """Why Postfix cannot be measured here, or None."""
    if os.getuid() != 0:
        return "not run as root"
    if not (POSTFIX_DAEMONS / "master").exists():
        return "Postfix is not installed"
    return None if shutil.which("curl") else "curl is not installed"


def end(process):
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
    # The session's last ones, which its leader may have left behind.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    if process.stdin:
        process.stdin.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def receiver_down():
    """A URL that refuses connections: the port is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/"


def wait_for_port(port, seconds=15):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.01)
    raise Broken(f"nobody listens on port {port}")


def load(port, count, octets, sessions, recipient=RECIPIENT):
    """Sends messages; seconds. smtp-source breaks off at the first one that is refused."""
    begun = time.monotonic()
    done = subprocess.run(
        ["smtp-source", "-d", "-s", str(min(sessions, count)), "-l", str(octets), "-m", str(count),
         "-t", recipient, f"127.0.0.1:{port}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    if done.returncode != 0 or done.stderr:
        raise Broken(f"a load of {count} messages broke off: {done.stderr.strip()[:200]}")
    return time.monotonic() - begun


def await_posts(url, count, seconds=120):
    """Waits until so many posts arrived in all; how many there are."""
    with urllib.request.urlopen(f"{url}wait/{count}", timeout=seconds) as response:
        return int(response.read())


def post_octets(url):
    """How long the body of the last post was."""
    with urllib.request.urlopen(f"{url}octets") as response:
        return int(response.read())


def own_time(pid):
    """Seconds of processor time of a process."""
    return sum(stat(pid)[:2])


def family_time(pid):
    """Seconds of processor time of a process, its children and those they waited for."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = sum(stat(pid))
    for child in children:
        # One that has just ended is in its parent's account.
        with suppress(FileNotFoundError, ProcessLookupError):
            total += family_time(child)
    return total


def stat(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(ticks) / TICK for ticks in fields[11:15]]


def settle(pid, seconds=10):
    """Waits until a process has almost nothing to do: work behind the reply counts as well."""
    deadline = time.monotonic() + seconds
    before = own_time(pid)
    while time.monotonic() < deadline:
        time.sleep(0.2)
        now = own_time(pid)
        if now - before <= 0.01:
            return
        before = now


def resident(pid, which="VmRSS"):
    """Resident memory in MB (10^6 octets); `VmHWM` is its peak."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(which))
    return int(line.split()[1]) * 1024 / 1e6


def send_one(port):
    """Sends one message and waits for its acknowledgement."""
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        lines = client.makefile("rwb", 0)
        reply = lines.readline()
        for command in ("HELO bench", "MAIL FROM:<>", f"RCPT TO:<{RECIPIENT}>", "DATA", "\r\nhello\r\n."):
            lines.write(command.encode() + b"\r\n")
            reply = lines.readline()
        if not reply.startswith(b"250"):
            raise Broken(f"a message is answered {reply}")
