"""What delivery costs: backlogs that drain, receivers far away, many destinations, a dead one
among healthy ones; benches/measure.py puts it into the report."""

import os
import tempfile
import time
from statistics import median
from urllib.request import Request, urlopen

import servers
from servers import Broken, await_posts, free_port, load, own_time, post_octets, resident, settle

DRAIN_ROW, CLIENT_ROW, TLS_ROW = "drain of a backlog", "bare hyper client, as many connections", "drain over TLS"
PLANNING = "postgate_dispatcher_seconds_total"
CONNECTIONS = 20
# total_connections, as it is by default.
PLACES = 2000
# An answer comes so many milliseconds after its request.
FAR = 50
# Probes find a receiver that is back within a second; certificates of sinks are nobody's.
EXTRA = """
[api]
address = ""
[delivery]
retry = ["1s"]
max_connections = {connections}
{delivery}
[egress]
allow = ["127.0.0.0/8"]
"""


def extra(connections=CONNECTIONS, delivery=""):
    return EXTRA.format(connections=connections, delivery=delivery)


def drain(bench, found, row, count, octets, sessions, spoken, delivery=""):
    """A backlog is there before its receiver; from its tenth part on it is measured until the end."""
    port = free_port()
    scheme = "https" if spoken == "tls" else "http"
    with bench.gateway(f"{scheme}://127.0.0.1:{port}/", "full", extra=extra(delivery=delivery)) as gateway:
        load(gateway.port, count, octets, sessions)
        settle(gateway.pid)
        with bench.http_sink(port, 0, spoken) as sink:
            begin = await_posts(sink.control, count // 10)
            begun, before = time.monotonic(), own_time(gateway.pid)
            await_posts(sink.control, count)
            seconds, spent = time.monotonic() - begun, own_time(gateway.pid) - before
            found.note(row, count - begin, seconds, spent)
            if row == DRAIN_ROW:
                connections = (count // 2) // CONNECTIONS * CONNECTIONS
                found.note(CLIENT_ROW, connections,
                           bench.reference("post", sink.url, connections, post_octets(sink.control), CONNECTIONS))


def drains(bench, found, count, octets, sessions):
    """The same backlog in the clear and over TLS, beside a bare client."""
    ways = [(DRAIN_ROW, "plain", ""), (TLS_ROW, "tls", "insecure = true")]
    for row, spoken, delivery in ways if found.round % 2 else reversed(ways):
        drain(bench, found, row, count, octets, sessions, spoken, delivery)


def far(bench, octets, sessions):
    """Posts a second to a receiver that is far away, over HTTP/1.1 and over HTTP/2, each as a share of
    what 20 connections can: the middle of a drain, when connections are open and windows wide."""
    shares = {}
    for spoken, count, delivery in (("plain", 4000, ""), ("h2", 24000, 'http2 = "prior-knowledge"')):
        port = free_port()
        # Without max_connections HTTP/2 has the streams that its receiver allows.
        settings = extra(delivery=delivery).replace(f"max_connections = {CONNECTIONS}\n", "")
        with bench.gateway(f"http://127.0.0.1:{port}/", "full", extra=settings) as gateway:
            load(gateway.port, count, octets, sessions)
            settle(gateway.pid)
            with bench.http_sink(port, FAR, spoken) as sink:
                begin = await_posts(sink.control, count // 4)
                begun = time.monotonic()
                end = await_posts(sink.control, count - count // 10)
                rate = (end - begin) / (time.monotonic() - begun)
                shares[f"{spoken} far"] = rate / (CONNECTIONS / (FAR / 1000))
                print(f"  {FAR} ms away, {spoken:27} {rate:10,.0f}/s", flush=True)
    return shares


def sending(bench, gateway, *arguments):
    """A courier that sends posts to lanes of its own."""
    return bench.running(bench.binaries / "examples/courier", f"127.0.0.1:{gateway.port}", *arguments)


def result(process):
    """What it measured when all have arrived: seconds, p50, p99 in milliseconds, lanes starved, and both
    again from the final dot to `250`, and from that to the request."""
    words = process.stdout.read().split()
    if not words:
        raise Broken(f"the courier failed {servers.last_error(process.errors)}")
    return [float(word) for word in words]


def courier(bench, gateway, *arguments):
    """Sends `count` posts to `lanes`, at a `rate`, in messages of so many `recipients` and `octets`."""
    with sending(bench, gateway, *arguments) as process:
        return result(process)


def paced_sync(directory, octets, rate, count=300):
    """Milliseconds that one write into a file that is there and its fdatasync take, p50, when so many come
    in a second: processor and disk doze between them, as they do between messages."""
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        file.write(os.urandom(count * octets))
        os.fsync(file.fileno())
        piece, taken = os.urandom(octets), []
        for number in range(count):
            time.sleep(1 / rate)
            begun = time.perf_counter()
            os.pwrite(file.fileno(), piece, number * octets)
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - begun) * 1e3)
    return median(taken)


def latency(bench, octets, rate=100, count=2000):
    """Milliseconds from the final dot to `250`, and from that to the request, at a low load; and how long
    one write and its fdatasync take on the same disk at the same rate, before and behind it."""
    with servers.receiver_down() as url, bench.gateway(url, "full", extra=extra()) as gateway:
        courier(bench, gateway, 500, 10, rate, 1, octets)
        before = paced_sync(bench.directory, octets, rate)
        taken = courier(bench, gateway, count, 10, rate, 1, octets)[4:]
        sync = (before + paced_sync(bench.directory, octets, rate)) / 2
    print(f"  dot to 250 {taken[0]:.2f} ms (p99 {taken[1]:.2f}), 250 to request {taken[2]:.2f} ms (p99 {taken[3]:.2f}), "
          f"one fdatasync {sync:.2f} ms", flush=True)
    return {"taken": taken, "sync": sync}


def figure(api, name):
    """The sum of a metric, over all its labels."""
    with urlopen(f"http://127.0.0.1:{api}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((name + " ", name + "{")))


def steer(api, verb):
    """Pauses or resumes all destinations."""
    call = Request(f"http://127.0.0.1:{api}/api/v1/destinations/%2A/{verb}", data=b"{}",
                   headers={"Content-Type": "application/json"})
    urlopen(call).close()


def crowd(bench, lanes, each, octets, few=10):
    """Backlogs of many lanes that are let go at once: what many lanes add to the memory that as many
    posts to few lanes take, lanes that starved, and what planning a post costs beside the same. Few
    lanes have all the places too: how many lanes there are is the only difference."""
    planned, peaks, api, count = {}, {}, free_port(), lanes * each
    for number in (few, lanes):
        settings = extra(connections=max(CONNECTIONS, PLACES // number))
        settings = settings.replace('address = ""', f'address = "127.0.0.1:{api}"')
        with servers.receiver_down() as url, bench.gateway(url, "full", extra=settings) as gateway:
            courier(bench, gateway, 1000, few, 0, 10, octets)
            settle(gateway.pid)
            base = resident(gateway.pid)
            steer(api, "pause")
            with sending(bench, gateway, count, number, 0, 1, octets) as process:
                while figure(api, "postgate_queue_posts") < count:
                    time.sleep(0.2)
                settle(gateway.pid)
                begun, before, busy = time.monotonic(), own_time(gateway.pid), figure(api, PLANNING)
                steer(api, "resume")
                starved = result(process)[3]
                seconds = time.monotonic() - begun
            settle(gateway.pid)
            spent = (own_time(gateway.pid) - before) / count * 1e6
            planned[number] = (figure(api, PLANNING) - busy) / count * 1e6
            peaks[number] = resident(gateway.pid, "VmHWM") - base
            print(f"  {number:,} lanes: {count / seconds:,.0f}/s, {spent:.0f} µs a post and "
                  f"{planned[number]:.1f} of planning, {peaks[number]:.0f} MB more, {starved:.0f} starved", flush=True)
    return {"crowd memory": peaks[lanes] - peaks[few], "crowd starved": starved,
            "crowd planning": planned[lanes] / planned[few]}


def dead(bench, backlog, octets, sessions, count=8000, lanes=100, rate=1000, times=9):
    """How 100 healthy destinations fare beside a dead one with a backlog: rate at full load and p99 at
    a steady load, as medians of the ratios to the same without it. Many short turns: other jobs on the
    machine change each."""
    rates, waits = [], []
    with servers.receiver_down() as url:
        with bench.gateway(url, "full", extra=extra()) as alone, bench.gateway(url, "full", extra=extra()) as beside:
            load(beside.port, backlog, octets, sessions)
            settle(beside.pid)
            for gateway in (alone, beside):
                courier(bench, gateway, count // 2, lanes, 0, 10, octets)
            for turn in range(times):
                order = (alone, beside) if turn % 2 else (beside, alone)
                full = {gateway: courier(bench, gateway, count, lanes, 0, 10, octets) for gateway in order}
                steady = {gateway: courier(bench, gateway, count // 4, lanes, rate, 1, octets) for gateway in order}
                rates.append(full[alone][0] / full[beside][0])
                waits.append(steady[beside][2] / steady[alone][2])
    print(f"  beside a dead destination: {median(rates):.2f} of the rate, p99 {median(waits):.2f} times", flush=True)
    return {"dead rate": rates, "dead p99": median(waits)}
