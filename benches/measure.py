"""Measures Postgate beside other programs; see benches/run for what and how.

A round measures every row once, one after the other. Rows are compared within
their round, and the median over the rounds is what counts.
"""

import os
import platform
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import delivery
import fanout
import formats
import front
import looks
import others
import servers
from servers import Bench, Broken, await_posts, load, own_time, resident, settle

RESULTS = Path(__file__).with_name("RESULTS.md")
# Processor time a message of smtp-sink while the machine is quiet, in microseconds.
QUIET_SINK = 21
WARM_UP = 1000


def number(name, full, quick):
    return int(os.environ.get(name, quick if "--quick" in sys.argv else full))


ROUNDS = number("ROUNDS", 9, 3)
MESSAGES = number("MESSAGES", 10000, 3000)
POSTFIX_MESSAGES = number("POSTFIX_MESSAGES", 800, 300)
CURL_MESSAGES = number("CURL_MESSAGES", 150, 50)
DEFERRED = number("DEFERRED", 100000, 10000)
OCTETS = number("OCTETS", 2048, 2048)
SESSIONS = number("SESSIONS", 100, 100)
LARGE = number("LARGE", 40, 12)
WHOLE = number("WHOLE", 12, 4)
BUDGET = number("BUDGET", 150, 20)
PAYLOAD = os.environ.get("PAYLOAD", "json")
IDLE = number("IDLE", 10000, 1000)
BACKLOG = number("BACKLOG", 20000, 5000)
LANES = number("LANES", 10000, 1000)
LANE_POSTS = number("LANE_POSTS", 20, 5)
DEAD = number("DEAD", 100000, 10000)
SLOW = number("SLOW", 1000, 200)
QUEUED = number("QUEUED", 1000000, 20000)
WEBHOOKS = number("WEBHOOKS", 1000, 200)
WEBHOOK_BATCHES = number("WEBHOOK_BATCHES", 8, 4)
CONNECTIONS = 32
# A large message, a little below the limit, and the connections that send them.
LARGE_OCTETS, LARGE_SESSIONS = (25 << 20) - 65536, 4
LARGE_ROWS = ("large messages", "plain write and fdatasync")
SINKS = ("smtp-sink beside accepting", "smtp-sink beside delivering")
# A message's own fields, which smtp-source adds to its payload.
FIELDS = 256


class Measurements:
    """Rates and processor times by row, one of each a round; what failed."""

    def __init__(self):
        self.rates = defaultdict(dict)
        self.times = defaultdict(dict)
        self.peaks = defaultdict(list)
        self.failures = []
        self.round = 0
        # The smtp-sink of the same half of a round, by row.
        self.beside, self.sink = {}, None

    def note(self, row, count, seconds, processor=None):
        if row in SINKS:
            self.sink = row
        self.beside[row] = self.sink
        self.rates[row][self.round] = count / seconds
        if processor is not None:
            self.times[row][self.round] = processor * 1e6 / count
        processor = "" if processor is None else f"{processor * 1e6 / count:8.0f} µs"
        print(f"  {row:34} {count / seconds:10,.0f}/s {processor}", flush=True)

    def ratios(self, table, row, other):
        rounds = table[row].keys() & table[other].keys()
        return [table[row][number] / table[other][number] for number in sorted(rounds)]

    def try_row(self, row, measure):
        """One row of one round; one that broke is reported, not compared."""
        try:
            measure()
        except (Broken, OSError, subprocess.TimeoutExpired) as error:
            self.failures.append(f"round {self.round}, {row}: {error}")
            print(f"  {row:34} FAILED: {error}", flush=True)


def accept(bench, found, protocol_log):
    """Mail until `250`, with the receiver down."""
    with servers.receiver_down() as url, bench.gateway(url, protocol_log, PAYLOAD) as gateway:
        load(gateway.port, WARM_UP, OCTETS, SESSIONS)
        settle(gateway.pid)
        before = own_time(gateway.pid)
        seconds = load(gateway.port, MESSAGES, OCTETS, SESSIONS)
        settle(gateway.pid)
        found.note(f"accept, protocol log {protocol_log}", MESSAGES, seconds, own_time(gateway.pid) - before)
        found.peaks["accepting"].append(resident(gateway.pid, "VmHWM"))


def deliver(bench, found, sink, protocol_log):
    """Mail until the receiver has answered the last post."""
    with bench.gateway(sink.url, protocol_log, PAYLOAD) as gateway:
        arrived = await_posts(sink.url, 0)
        load(gateway.port, WARM_UP, OCTETS, SESSIONS)
        arrived = await_posts(sink.url, arrived + WARM_UP)
        settle(gateway.pid)
        before, begun = own_time(gateway.pid), time.monotonic()
        load(gateway.port, MESSAGES, OCTETS, SESSIONS)
        arrived_now = await_posts(sink.url, arrived + MESSAGES)
        seconds = time.monotonic() - begun
        settle(gateway.pid)
        found.note(f"end to end, protocol log {protocol_log}", MESSAGES, seconds, own_time(gateway.pid) - before)
        found.peaks["delivering"].append(resident(gateway.pid, "VmHWM"))
        if arrived_now != arrived + MESSAGES:
            found.failures.append(f"{arrived_now - arrived - MESSAGES} posts arrived twice")


def accept_only(found, row, smtp_sink):
    before = own_time(smtp_sink.pid)
    seconds = load(smtp_sink.port, MESSAGES, OCTETS, SESSIONS)
    found.note(row, MESSAGES, seconds, own_time(smtp_sink.pid) - before)


def postfix_holds(found, postfix):
    """Accepting alone: nothing looks at the queue."""
    before = servers.family_time(postfix.pid)
    seconds = load(postfix.accepting, POSTFIX_MESSAGES, OCTETS, SESSIONS)
    found.note("Postfix accepting, held", POSTFIX_MESSAGES, seconds, servers.family_time(postfix.pid) - before)


def postfix_defers(found, postfix):
    """The same job as the gateway's: a message is taken, and found to have to wait."""
    before = servers.family_time(postfix.pid)
    seconds = load(postfix.posting, POSTFIX_MESSAGES, OCTETS, SESSIONS, servers.DEFERRED_RECIPIENT)
    time.sleep(0.5)
    found.note("Postfix accepting, deferred", POSTFIX_MESSAGES, seconds,
               servers.family_time(postfix.pid) - before)


def postfix_posts(found, postfix, sink):
    arrived = await_posts(sink.url, 0)
    before, begun = servers.family_time(postfix.pid), time.monotonic()
    load(postfix.posting, CURL_MESSAGES, OCTETS, SESSIONS)
    await_posts(sink.url, arrived + CURL_MESSAGES)
    seconds = time.monotonic() - begun
    found.note("Postfix with curl", CURL_MESSAGES, seconds, servers.family_time(postfix.pid) - before)


def reference(bench, found, row, *arguments):
    found.note(row, MESSAGES, bench.reference(*arguments))


def rounds(bench, found, postfix, smtp_sink, sink):
    begun = time.monotonic()
    octets = OCTETS + FIELDS
    if postfix:
        found.try_row("Postfix", lambda: warm_up(postfix, sink))
    for found.round in range(1, ROUNDS + 1):
        if found.round > 1 and time.monotonic() - begun > BUDGET:
            print(f"no time for more than {found.round - 1} rounds")
            found.round -= 1
            break
        print(f"round {found.round}", flush=True)
        # Whichever comes first may find more or less of the machine.
        one, other = ("full", "off") if found.round % 2 else ("off", "full")
        rows = [
            (SINKS[0], lambda: accept_only(found, SINKS[0], smtp_sink)),
            (f"accept, {one}", lambda: accept(bench, found, one)),
            (f"accept, {other}", lambda: accept(bench, found, other)),
            ("kept connections", lambda: front.encrypt(bench, found, MESSAGES, OCTETS, SESSIONS, WARM_UP)),
            ("over HTTP", lambda: front.inject(bench, found, MESSAGES, OCTETS, SESSIONS, WARM_UP)),
            ("Postfix, held", lambda: postfix and postfix_holds(found, postfix)),
            ("Postfix, deferred", lambda: postfix and postfix_defers(found, postfix)),
            ("appends", lambda: reference(bench, found, "fdatasync'd appends", "append", bench.directory,
                                          MESSAGES, octets, SESSIONS)),
            (SINKS[1], lambda: accept_only(found, SINKS[1], smtp_sink)),
            (f"end to end, {one}", lambda: deliver(bench, found, sink, one)),
            (f"end to end, {other}", lambda: deliver(bench, found, sink, other)),
            ("events", lambda: looks.events(bench, found, MESSAGES, OCTETS, SESSIONS, WARM_UP)),
            ("panel", lambda: looks.panel(bench, found, MESSAGES, OCTETS, SESSIONS, WARM_UP)),
            ("drains", lambda: delivery.drains(bench, found, BACKLOG, OCTETS, SESSIONS)),
            *((row, lambda row=row: others.deliver(bench, found, row, sink, MESSAGES // others.SHARE, OCTETS, SESSIONS))
              for row in others.OTHERS),
            ("Postfix with curl", lambda: postfix and postfix_posts(found, postfix, sink)),
            ("hyper client", lambda: reference(bench, found, "bare hyper client", "post", sink.url,
                                               MESSAGES // CONNECTIONS * CONNECTIONS, octets, CONNECTIONS)),
        ]
        for row, measure in rows:
            found.try_row(row, measure)


def warm_up(postfix, sink):
    """The processes of a Postfix that has worked for a while are there already."""
    load(postfix.accepting, POSTFIX_MESSAGES // 2, OCTETS, SESSIONS)
    arrived = await_posts(sink.url, 0)
    load(postfix.posting, CURL_MESSAGES // 2, OCTETS, SESSIONS)
    await_posts(sink.url, arrived + CURL_MESSAGES // 2)


def backlog(bench):
    """What waiting posts cost in memory and, after kill -9, at the start."""
    print(f"{DEFERRED:,} posts wait", flush=True)
    data = bench.fresh("backlog")
    with servers.receiver_down() as url:
        with bench.gateway(url, "full", PAYLOAD, data) as gateway:
            load(gateway.port, WARM_UP, OCTETS, SESSIONS)
            settle(gateway.pid)
            before = resident(gateway.pid)
            load(gateway.port, DEFERRED, OCTETS, SESSIONS)
            settle(gateway.pid)
            added = resident(gateway.pid) - before
        begun = time.monotonic()
        with bench.gateway(url, "full", PAYLOAD, data) as gateway:
            servers.send_one(gateway.port)
            restart = time.monotonic() - begun
            settle(gateway.pid)
            peak = resident(gateway.pid, "VmHWM")
    print(f"  {added:.0f} MB more, {restart:.2f} s until mail is taken again, peak then {peak:.0f} MB")
    return {"added": added, "restart": restart, "peak": peak}


def large(bench, found):
    """Large messages into the spool, beside files of the same octets; what stays of the memory."""
    settled = []
    for found.round in range(1, ROUNDS // 2 + 1):
        print(f"large messages, round {found.round}", flush=True)
        with servers.receiver_down() as url, bench.gateway(url, "full", "raw") as gateway:
            load(gateway.port, WARM_UP, OCTETS, SESSIONS)
            settle(gateway.pid)
            time_before, before = own_time(gateway.pid), resident(gateway.pid)
            seconds = load(gateway.port, LARGE, LARGE_OCTETS, LARGE_SESSIONS)
            settle(gateway.pid)
            found.note(LARGE_ROWS[0], LARGE, seconds, own_time(gateway.pid) - time_before)
            found.peaks["large messages"].append(resident(gateway.pid, "VmHWM") - before)
            settled.append(resident(gateway.pid))
        found.note(LARGE_ROWS[1], LARGE, bench.reference("write", bench.directory, LARGE, LARGE_OCTETS))
    return {"after large": max(settled)}


def large_target(found):
    """One of two must be met: a rate, or a share of what the disk does."""
    what = "messages of 25 MiB from 4 connections: rate, or share of plain write and fdatasync"
    needed = "≥ 200 MB/s or ≥ 0.7"
    rates = [rate * LARGE_OCTETS / 1e6 for rate in found.rates[LARGE_ROWS[0]].values()]
    shares = found.ratios(found.rates, *LARGE_ROWS)
    if not shares:
        return what, needed, "not measured", None
    rate, share = median(rates), median(shares)
    text = f"{rate:.0f} MB/s, {share:.2f} ({min(shares):.2f} to {max(shares):.2f})"
    return what, needed, text, rate >= 200 or share >= 0.7


def targets(found, backlog, door):
    """(what, needed, measured as text, whether it is met; None when not measured)"""
    gateway, whole = "accept, protocol log full", "end to end, protocol log full"

    def at_least(what, needed, ratios):
        if not ratios:
            return what, f"≥ {needed}", "not measured", None
        text = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        return what, f"≥ {needed}", text, median(ratios) >= needed

    def at_most(what, needed, unit, value, text=None):
        if value is None:
            return what, f"≤ {needed} {unit}", "not measured", None
        return what, f"≤ {needed} {unit}", text or f"{value:.1f} {unit}", value <= needed

    def log_cost(table, row, sign):
        ratios = found.ratios(table, f"{row}, protocol log full", f"{row}, protocol log off")
        return (median(ratios) - 1) * 100 * sign if ratios else None

    def peak(kind):
        return max(found.peaks[kind], default=None)

    raw = list(found.times[whole].values())
    scaled = [ratio * QUIET_SINK for ratio in found.ratios(found.times, whole, SINKS[1])]
    yield at_least("durable accept / smtp-sink", 0.4, found.ratios(found.rates, gateway, SINKS[0]))
    for queue in ("deferred", "held"):
        yield at_least(f"durable accept / Postfix accepting, {queue}", 8,
                       found.ratios(found.rates, gateway, f"Postfix accepting, {queue}"))
    yield at_least("end to end / smtp-sink", 0.35, found.ratios(found.rates, whole, SINKS[1]))
    for row in others.OTHERS:
        yield at_least(f"end to end / {row}", 1, found.ratios(found.rates, whole, row))
    yield at_least("end to end / Postfix with curl", 20, found.ratios(found.rates, whole, "Postfix with curl"))
    yield at_most("end to end, processor time a post, as measured", 120, "µs", median(raw) if raw else None)
    yield at_most(f"the same, scaled to a machine where smtp-sink takes {QUIET_SINK} µs", 120, "µs",
                  median(scaled) if scaled else None)
    taken, sync = door.get("taken"), door.get("sync")
    words = taken and f"{taken[0] / sync:.2f} times ({taken[0]:.2f} ms, p99 {taken[1]:.2f} ms)"
    yield at_most("final dot to `250` at 100 messages a second, p50 / one fdatasync at that rate", 1.5, "times",
                  taken and taken[0] / sync, words)
    words = taken and f"{taken[2]:.2f} ms (p99 {taken[3]:.2f} ms)"
    yield at_most("`250` to the request, p50", 5, "ms", taken and taken[2], words)
    yield at_least("drain of a backlog / bare hyper client", 0.4,
                   found.ratios(found.rates, delivery.DRAIN_ROW, delivery.CLIENT_ROW))
    drained = list(found.times[delivery.DRAIN_ROW].values())
    scaled = [ratio * QUIET_SINK for ratio in found.ratios(found.times, delivery.DRAIN_ROW, SINKS[1])]
    yield at_most("drain of a backlog, processor time a post, as measured", 90, "µs",
                  median(drained) if drained else None)
    yield at_most(f"the same, scaled to a machine where smtp-sink takes {QUIET_SINK} µs", 90, "µs",
                  median(scaled) if scaled else None)
    yield at_least("drain over TLS on kept connections / plain", 0.7,
                   found.ratios(found.rates, delivery.TLS_ROW, delivery.DRAIN_ROW))
    near = [f"to a receiver {delivery.FAR} ms away, HTTP/{version} / what 20 connections can" for version in (1.1, 2)]
    yield at_least(near[0], 0.9, [door["plain far"]] if "plain far" in door else [])
    yield at_least(near[1], 5, [door["h2 far"]] if "h2 far" in door else [])
    yield at_most(f"memory that {LANES:,} destinations with {LANE_POSTS} posts each add to that of the posts, peak", 100, "MB",
                  door.get("crowd memory"))
    yield at_most("destinations of those that starved", 0, "", door.get("crowd starved"))
    yield at_most("time that planning one of their posts takes / one of as many to 10 destinations", 1.2, "times",
                  door.get("crowd planning"))
    yield at_least(f"rate of 100 destinations beside a dead one with {DEAD:,} posts / without", 0.95,
                   door.get("dead rate", []))
    yield at_most("their p99 beside it / without", 1.2, "times", door.get("dead p99"))
    yield large_target(found)
    yield at_most("their memory beyond that of an idle gateway, peak", 268, "MB", peak("large messages"))
    yield at_most("resident memory when they are in the spool", 60, "MB", backlog.get("after large"))
    yield at_least("accept on kept connections, TLS 1.3 with resumption / plain", 0.7,
                   found.ratios(found.rates, front.TLS_ROW, front.PLAIN_ROW))
    yield at_least("accept over HTTP, single posts / mail on kept connections", 0.8,
                   found.ratios(found.rates, front.SINGLE_ROW, front.PLAIN_ROW))
    yield at_least(f"accept over HTTP, lists of {front.LIST} / mail on kept connections", 3,
                   found.ratios(found.rates, front.LIST_ROW, front.PLAIN_ROW))
    for row, percent in zip(list(looks.ROWS)[1:], (1, 15)):
        yield at_most(f"{row}: cost in throughput", percent, "%", looks.cost(found, row))
    yield at_most(f"`GET /posts` over {QUEUED:,} queued posts, p99 of the slowest filter", 50, "ms", door.get("search"))
    yield at_most("status and metrics beside them, p99", 20, "ms", door.get("status"))
    yield at_most("pages of the panel beside them, p99 of the slowest", 100, "ms", door.get("page"))
    yield at_most("the largest of these pages", 150, "kB", door.get("page size"))
    yield at_most(f"{looks.OPEN}: cost in throughput", 2, "%", looks.cost(found, looks.OPEN, looks.SHUT))
    yield at_most(f"memory of each of {IDLE:,} idle connections", 32, "KiB", door.get("plain"))
    yield at_most(f"memory of each of {IDLE:,} idle connections over TLS", 64, "KiB", door.get("tls"))
    yield at_most(f"a good client's p99 beside {SLOW:,} slow ones / alone", 2, "times", door.get("slow"))
    told = door.get("fan_out")
    yield at_least(f"events that {WEBHOOKS:,} webhooks are told in a second, in batches of {fanout.BATCH}", 20_000,
                   told and told[:1])
    yield at_most("composing json of 10 KiB with an attachment / mail-parser alone", 1.5, "times",
                  door.get("compose small"))
    yield from formats.slowest(door)
    yield formats.largest(door)
    yield at_most("protocol log, throughput of accept", 10, "%", log_cost(found.rates, "accept", -1))
    yield at_most("protocol log, throughput end to end", 10, "%", log_cost(found.rates, "end to end", -1))
    yield at_most("protocol log, processor time of accept", 10, "%", log_cost(found.times, "accept", 1))
    yield at_most("protocol log, processor time end to end", 10, "%", log_cost(found.times, "end to end", 1))
    yield at_most("resident memory while accepting, peak", 60, "MB", peak("accepting"))
    yield at_most("resident memory end to end, peak", 60, "MB", peak("delivering"))
    yield at_most(f"memory that {DEFERRED:,} waiting posts add", 40, "MB", backlog.get("added"))
    yield at_most(f"from start to `250` with {DEFERRED:,} waiting posts, after kill -9", 2, "s",
                  backlog.get("restart"))
    yield at_most(f"resident memory after that start, peak (60 + 40 for {DEFERRED:,} waiting posts)", 100, "MB",
                  backlog.get("peak"))


def report(found, backlog, door, skipped):
    words = {True: "PASS", False: "MISSED", None: "skipped"}
    lines = ["# Benchmark", "", "Written by `benches/run`, which says what is measured and how.", ""]
    lines += [f"- {line}" for line in circumstances(found)]
    if skipped:
        lines.append(f"- Postfix is not measured: {skipped}")
    lines += ["", "| target | needed | measured | |", "| --- | --- | --- | --- |"]
    for what, needed, measured, is_met in targets(found, backlog, door):
        if is_met is None and not (skipped and "Postfix" in what):
            is_met = False  # What broke off has not met its target.
        lines.append(f"| {what} | {needed} | {measured} | {words[is_met]} |")
    lines += ["", "Ratios are medians over the rounds, with the lowest and the highest round.", ""]
    lines += ["| row, median over the rounds | a second | of smtp-sink | µs of processor time a message |",
              "| --- | ---: | ---: | ---: |"]
    for row, rates in found.rates.items():
        share = median(found.ratios(found.rates, row, found.beside[row]) or [0]) if row not in LARGE_ROWS else 0
        times = found.times.get(row)
        time_text = f"{median(times.values()):.0f}" if times else ""
        lines.append(f"| {row} | {median(rates.values()):,.0f} | {share:.2f} | {time_text} |")
    lines += ["", f"Failed: {'nothing' if not found.failures else ''}"]
    lines += [f"- {failure}" for failure in found.failures]
    return "\n".join(lines).rstrip() + "\n"


def circumstances(found):
    def said(*command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return (done.stdout.strip().splitlines() or ["unknown"])[0]

    models = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
              if line.startswith("model name")]
    yield f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, {found.round} rounds, load average " \
          f"{os.getloadavg()[2]:.1f} over the last 15 minutes"
    yield f"{os.cpu_count()} cores, {models[0] if models else platform.machine()}, Linux {platform.release()}"
    yield f"Postgate {said('git', 'describe', '--always', '--dirty')}, {said('rustc', '--version')}, " \
          f"Postfix {said('postconf', '-hd', 'mail_version')}"
    yield f"{MESSAGES:,} messages a load ({POSTFIX_MESSAGES:,} on Postfix, {CURL_MESSAGES:,} with curl), " \
          f"{OCTETS:,} octets, {SESSIONS} kept connections, payload `{PAYLOAD}`"


def main():
    # So that what was started is ended.
    for reason in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(reason, lambda number, _: sys.exit(128 + number))
    binaries = sys.argv[1]
    found, waiting, door = Measurements(), {}, {}
    skipped = servers.why_no_postfix()
    with Bench(binaries) as bench:
        with bench.smtp_sink() as smtp_sink, bench.http_sink() as sink:
            postfix = None
            if not skipped:
                try:
                    postfix = bench.enter_context(bench.postfix(sink.url))
                except Broken as error:
                    skipped = f"it does not start: {error}"
            rounds(bench, found, postfix, smtp_sink, sink)
        found.try_row("waiting posts", lambda: waiting.update(backlog(bench)))
        rounds_done = found.round
        found.try_row("large messages", lambda: waiting.update(large(bench, found)))
        found.round = rounds_done
        print(f"{QUEUED:,} posts are looked at", flush=True)
        found.try_row("looks", lambda: door.update(looks.search(bench, QUEUED)))
        found.try_row("idle connections", lambda: door.update(front.idle(bench, IDLE)))
        print("composing", flush=True)
        found.try_row("formats", lambda: door.update(formats.compose(bench)))
        found.try_row("formats end to end", lambda: door.update(formats.whole(bench, WHOLE)))
        print("delivery", flush=True)
        found.try_row("far away", lambda: door.update(delivery.far(bench, OCTETS, SESSIONS)))
        found.try_row("many lanes", lambda: door.update(delivery.crowd(bench, LANES, LANE_POSTS, OCTETS)))
        found.try_row("latency", lambda: door.update(delivery.latency(bench, OCTETS)))
        found.try_row("dead destination", lambda: door.update(delivery.dead(bench, DEAD, OCTETS, SESSIONS)))
        print("webhooks", flush=True)
        found.try_row("fan-out", lambda: door.update(fan_out=fanout.fan_out(bench, WEBHOOKS, WEBHOOK_BATCHES)))
        found.try_row("slow clients", lambda: door.update(slow=front.slow(bench, SLOW, 2000, OCTETS)[1]))
    text = report(found, waiting, door, skipped)
    print(f"\n{text}")
    if "--quick" not in sys.argv:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
