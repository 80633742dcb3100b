"""What encrypted, idle and slow clients cost; benches/measure.py puts it into the report."""

from contextlib import contextmanager
from statistics import median

import servers
from servers import Broken, own_time, resident, settle

ENCRYPTED = """
[[listener]]
address = "127.0.0.1:0"
tls = "implicit"
[tls]
self_signed = true
"""
OVER_HTTP = """
[api]
address = "127.0.0.1:0"
[egress]
allow = ["127.0.0.0/8"]
"""
# Posts of a list.
LIST = 100
SINGLE_ROW, LIST_ROW = "accept over HTTP, single posts", f"accept over HTTP, lists of {LIST}"
PLAIN_ROW, TLS_ROW = "accept, kept connections", "accept, kept connections over TLS"


@contextmanager
def gateway(bench, url):
    """A gateway with a second, encrypted listener."""
    with bench.gateway(url, "full", extra=ENCRYPTED) as process:
        process.encrypted = int(process.stdout.readline().split("127.0.0.1:")[1].split()[0])
        yield process


def client(bench, *arguments):
    """Runs one of the clients to its end; the words it prints."""
    with bench.running(bench.binaries / "examples/clients", *arguments) as process:
        words = process.stdout.read().split()
        if not words:
            raise Broken(f"clients {arguments[0]} failed {servers.last_error(process.errors)}")
    return words


def inject(bench, found, messages, octets, sessions, warm_up):
    """As many posts handed in over HTTP as others mail, one by one and in lists."""
    with servers.receiver_down() as url, bench.gateway(url, "full", extra=OVER_HTTP) as process:
        address = process.stdout.readline().split("API at http://")[1].split("/")[0]
        for row, each in [(SINGLE_ROW, 1), (LIST_ROW, LIST)]:
            # Each connection makes at least one request.
            connections = min(sessions, messages // each)
            client(bench, "post", address, url, connections, max(warm_up, connections * each), octets, each)
            settle(process.pid)
            before = own_time(process.pid)
            count = messages // connections // each * connections * each
            seconds, = client(bench, "post", address, url, connections, messages, octets, each)
            settle(process.pid)
            found.note(row, count, float(seconds), own_time(process.pid) - before)


@contextmanager
def crowd(bench, *arguments):
    """Clients that stay until the end of the block."""
    with bench.running(bench.binaries / "examples/clients", *arguments, stdin=True) as process:
        if process.stdout.readline().strip() != "ready":
            raise Broken(f"clients {arguments[0]} failed {servers.last_error(process.errors)}")
        yield


def encrypt(bench, found, messages, octets, sessions, warm_up):
    """The same load plain and over TLS 1.3, whose sessions are resumed; rows of one round."""
    with servers.receiver_down() as url, gateway(bench, url) as process:
        ways = [(PLAIN_ROW, "plain", process.port), (TLS_ROW, "tls", process.encrypted)]
        for row, tls, port in ways if found.round % 2 else reversed(ways):
            address = f"127.0.0.1:{port}"
            client(bench, "load", address, tls, sessions, warm_up, octets)
            settle(process.pid)
            before = own_time(process.pid)
            seconds, resumed = client(bench, "load", address, tls, sessions, messages, octets)
            settle(process.pid)
            found.note(row, messages // sessions * sessions, float(seconds), own_time(process.pid) - before)
            if tls == "tls" and len(set(resumed.split("/"))) > 1:
                found.failures.append(f"only {resumed} TLS sessions were resumed")


def idle(bench, count):
    """KiB of resident memory that each idle connection costs, plain and over TLS."""
    costs = {}
    for tls in ("plain", "tls"):
        with servers.receiver_down() as url, gateway(bench, url) as process:
            port = process.port if tls == "plain" else process.encrypted
            client(bench, "load", f"127.0.0.1:{port}", tls, 10, 200, 2048)
            settle(process.pid)
            before = resident(process.pid)
            with crowd(bench, "idle", f"127.0.0.1:{port}", tls, count):
                settle(process.pid)
                costs[tls] = (resident(process.pid) - before) * 1e6 / 1024 / count
    return costs


def slow(bench, count, messages, octets, times=3):
    """How many times longer a good client waits for `250` beside slow ones: medians
    of (median, 99th percentile)."""
    ratios = []
    with servers.receiver_down() as url, gateway(bench, url) as process:
        address = f"127.0.0.1:{process.port}"
        client(bench, "latency", address, "plain", messages, octets)
        for _ in range(times):
            alone = client(bench, "latency", address, "plain", messages, octets)
            with crowd(bench, "slow", address, "plain", count):
                beside = client(bench, "latency", address, "plain", messages, octets)
            ratios.append([int(with_) / int(without) for with_, without in zip(beside, alone)])
    return [median(column) for column in zip(*ratios)]
