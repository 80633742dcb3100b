"""What looking costs while very many posts wait: searches, the status, the metrics, pages of the
panel; what events cost, and what pages do that somebody leaves open; benches/measure.py puts it
into the report.

    python3 benches/looks.py search BINARIES [POSTS]
    python3 benches/looks.py events BINARIES [MESSAGES]
    python3 benches/looks.py panel BINARIES [MESSAGES]

measure one of them alone, with the programs in a directory such as target/release.
"""

import http.client
import json
import sys
import threading
import time
from contextlib import closing, contextmanager
from statistics import median

from servers import Bench, Broken, await_posts, free_port, load, own_time, settle

# Posts of a list, and looks of each kind.
LIST, LOOKS = 1000, 100
OVER_HTTP = """
[api]
address = "127.0.0.1:{port}"
[egress]
allow = ["127.0.0.0/8"]
"""
# A webhook of the configuration needs no verification; its batches are the default ones.
SUBSCRIBER = """
[[webhook]]
url = "{url}"
events = ["post.*"]
format = "json"
enabled = {enabled}
"""
# What is asked; of the tags one stands in every seventh post and one in a single one.
SEARCHES = [
    "/posts?state=queued", "/posts?state=failed", "/posts?destination=http://127.0.0.1:{to}", "/posts?tag=t3",
    "/posts?tag=rare", "/posts?q=nothing", "/posts?recipient=nobody@x.example",
    "/posts?since=2100-01-01T00:00:00Z", "/posts?state=queued&tag=t3&limit=1000",
]
# Pages of the panel, with a post that waits.
PAGES = [
    "/", "/overview/live", "/posts", "/posts?state=queued&tag=t3", "/posts?tag=rare", "/posts?q=nothing", "/posts/{post}",
    "/destinations", "/destinations/live", "/webhooks", "/events", "/log", "/log?post={post}", "/log/live", "/config", "/send",
]
# What two pages that somebody leaves open ask for, and every how many seconds.
LIVE = {"/overview/live": 5, "/history?span=hour": 10, "/destinations/live": 5}
SHUT, OPEN = "end to end, nobody looks", "end to end, the panel is open"
# Subscribers, by row: none, one that is switched off, one that is told.
ROWS = {"end to end": None, "end to end, nobody wants events": "false", "end to end, events to a webhook": "true"}


class Api:
    """One kept connection."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method, path, body=None):
        """The answer's text, and the seconds that it took."""
        begun = time.monotonic()
        fields = {} if body is None else {"Content-Type": "application/json"}
        self.connection.request(method, path, None if body is None else json.dumps(body), fields)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise Broken(f"{method} {path} is answered {answer.status} {text[:200]}")
        return text, time.monotonic() - begun

    def close(self):
        self.connection.close()


def fill(api, count, to):
    for begin in range(0, count, LIST):
        posts = [{"url": f"http://127.0.0.1:{to}/{number}", "body": f"hello {number}",
                  "tags": ["rare" if number == count // 2 else f"t{number % 7}"]}
                 for number in range(begin, min(begin + LIST, count))]
        api.ask("POST", "/api/v1/posts", posts)


def slowest(api, path):
    """The 99th percentile of the milliseconds that a look takes, and the kB of its answer."""
    times = []
    for _ in range(LOOKS):
        text, seconds = api.ask("GET", path)
        times.append(seconds * 1e3)
    times.sort()
    print(f"  {path:52} p50 {times[LOOKS // 2]:8.1f} ms  p99 {times[-1 - LOOKS // 100]:8.1f} ms  "
          f"{len(text) / 1e3:6.1f} kB", flush=True)
    return times[-1 - LOOKS // 100], len(text) / 1e3


def search(bench, count):
    """The p99 of the slowest filter over so many queued posts, of status and metrics, and of the
    slowest page; and the largest page."""
    port, to = free_port(), free_port()
    with bench.gateway("http://127.0.0.1:9/", "full", extra=OVER_HTTP.format(port=port)) as process, \
            closing(Api(port)) as api:
        process.stdout.readline()
        api.ask("POST", "/api/v1/destinations/%2A/pause", {})
        fill(api, count, to)
        settle(process.pid)
        waiting = json.loads(api.ask("GET", "/api/v1/posts?limit=1")[0])
        if not waiting["posts"]:
            raise Broken("nothing waits")
        searches = [slowest(api, "/api/v1" + path.format(to=to))[0] for path in SEARCHES]
        told = [slowest(api, path)[0] for path in ("/api/v1/status", "/metrics")]
        pages = [slowest(api, path.format(post=waiting["posts"][0]["id"])) for path in PAGES]
    return {"search": max(searches), "status": max(told), "page": max(time for time, _ in pages),
            "page size": max(size for _, size in pages)}


def deliver(bench, found, row, enabled, messages, octets, sessions, warm_up):
    """Mail until its receiver has answered the last post, with a subscriber or without."""
    with bench.http_sink() as sink, bench.http_sink() as subscriber:
        extra = "[egress]\nallow = [\"127.0.0.0/8\"]\n"
        extra += SUBSCRIBER.format(url=subscriber.url, enabled=enabled) if enabled else ""
        with bench.gateway(sink.url, "full", extra=extra) as gateway:
            load(gateway.port, warm_up, octets, sessions)
            arrived = await_posts(sink.url, warm_up)
            settle(gateway.pid)
            before, begun = own_time(gateway.pid), time.monotonic()
            load(gateway.port, messages, octets, sessions)
            await_posts(sink.url, arrived + messages)
            seconds = time.monotonic() - begun
            settle(gateway.pid)
            if enabled == "true" and await_posts(subscriber.url, 0) == 0:
                raise Broken("the subscriber was told of nothing")
            found.note(row, messages, seconds, own_time(gateway.pid) - before)


def events(bench, found, messages, octets, sessions, warm_up):
    """The same mail without a subscriber, with one that is switched off, and with one."""
    rows = list(ROWS.items())
    for row, enabled in rows if found.round % 2 else reversed(rows):
        deliver(bench, found, row, enabled, messages, octets, sessions, warm_up)


@contextmanager
def watched(port, is_open):
    """Somebody has pages open, if so: what is live on them is asked for as a browser does."""
    over = threading.Event()
    failed = []

    def watch(path, seconds):
        with closing(Api(port)) as api:
            while not failed:
                try:
                    api.ask("GET", path)
                except (Broken, OSError, http.client.HTTPException) as error:
                    failed.append(error)
                if over.wait(seconds):
                    break

    threads = [threading.Thread(target=watch, args=look) for look in (LIVE.items() if is_open else [])]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    if failed:
        raise Broken(f"a page cannot be watched: {failed[0]}")


def panel(bench, found, messages, octets, sessions, warm_up):
    """The same mail while nobody looks, and while pages of the panel are open."""
    rows = [(SHUT, False), (OPEN, True)]
    for row, is_open in rows if found.round % 2 else reversed(rows):
        port = free_port()
        with bench.http_sink() as sink, bench.gateway(sink.url, "full", extra=OVER_HTTP.format(port=port)) as gateway:
            load(gateway.port, warm_up, octets, sessions)
            arrived = await_posts(sink.url, warm_up)
            settle(gateway.pid)
            before, begun = own_time(gateway.pid), time.monotonic()
            with watched(port, is_open):
                load(gateway.port, messages, octets, sessions)
                await_posts(sink.url, arrived + messages)
                seconds = time.monotonic() - begun
            settle(gateway.pid)
            found.note(row, messages, seconds, own_time(gateway.pid) - before)


def cost(found, row, plain=next(iter(ROWS))):
    """By how many percent a row is slower than the plain one, the median over the rounds."""
    ratios = found.ratios(found.rates, row, plain)
    return (1 - median(ratios)) * 100 if ratios else None


def extra_time(found, row, plain=next(iter(ROWS))):
    """By how many percent a post of a row takes more processor time than one of the plain row: that
    says more than the rate where others use the machine."""
    ratios = found.ratios(found.times, row, plain)
    return (median(ratios) - 1) * 100 if ratios else None


def main(what, binaries, count=None):
    from measure import Measurements  # It imports this one.
    with Bench(binaries) as bench:
        if what == "search":
            print(search(bench, int(count or 1_000_000)))
            return
        found = Measurements()
        measure, plain, rows = (panel, SHUT, [OPEN]) if what == "panel" else (events, next(iter(ROWS)), list(ROWS)[1:])
        for found.round in range(1, 4):
            measure(bench, found, int(count or 10_000), 2048, 100, 1000)
        for row in rows:
            print(f"{row}: {cost(found, row, plain):.1f} % less, "
                  f"{extra_time(found, row, plain):.1f} % more processor time a post")


if __name__ == "__main__":
    main(*sys.argv[1:])
