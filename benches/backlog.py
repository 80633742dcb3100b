"""What a post costs while very many wait: accepting them, a start after a crash beside them, and the drain.

    python3 benches/backlog.py target/release [COUNT [STEPS [LANES [WAY]]]]

They come as mail, one a post, or with `lists` as WAY over HTTP, a thousand at a time. Not part of benches/run: a million
posts of 2 KiB take minutes and 3 GB of disk, ten million half an hour and ten times the room."""

import sys
import time
from contextlib import closing
from ipaddress import IPv4Address

import servers
from delivery import extra, figure, sending, steer
from looks import LIST, Api
from servers import Bench, free_port, own_time, resident

# Seconds between two looks at how far it is.
LOOK = 0.5


def disk(directory):
    """Megabytes that the spool takes."""
    return sum(path.stat().st_blocks for path in (directory / "data/spool").rglob("*")) * 512 / 1e6


def tell(gateway, step, number, seconds, spent):
    """Says how fast these posts went, what one took of the gateway's processor time, and what memory
    and disk it has."""
    print(f"  {number:10,.0f} {step} {number / seconds:9,.0f}/s {spent / number * 1e6:6.1f} µs a post "
          f"{resident(gateway.pid):5.0f} MB, {disk(gateway.directory):7,.0f} MB of disk", flush=True)


def steps_of(gateway, step, count, steps, done):
    """Tells of each step."""
    begun, before, last, goal = time.monotonic(), own_time(gateway.pid), 0, count // steps
    while last < count:
        time.sleep(LOOK)
        number = done()
        if number < min(goal, count):
            continue
        now, spent = time.monotonic(), own_time(gateway.pid)
        tell(gateway, step, number - last, now - begun, spent - before)
        begun, before, last, goal = now, spent, number, number + count // steps


def hand_in(gateway, api, to, count, steps, lanes, octets):
    """Posts over HTTP, for as many destinations in turn, with little work for whoever sends them."""
    body, before = "x" * octets, 0
    with closing(Api(api)) as client:
        for step in range(steps):
            begun, spent, until = time.monotonic(), own_time(gateway.pid), count * (step + 1) // steps
            for first in range(before, until, LIST):
                numbers = range(first, min(first + LIST, until))
                hosts = (IPv4Address("127.1.0.0") + number % lanes for number in numbers)
                posts = [{"url": f"http://{host}:{to}/", "body": body} for host in hosts]
                client.ask("POST", "/api/v1/posts", posts)
            tell(gateway, "accepted", until - before, time.monotonic() - begun, own_time(gateway.pid) - spent)
            before = until


def backlog(bench, count, steps, lanes, way, octets=2048):
    """Lanes are paused until all have come, and the gateway was killed once."""
    api, data, port = free_port(), bench.fresh("backlog"), free_port()
    settings = extra().replace('address = ""', f'address = "127.0.0.1:{api}"')

    def queued():
        return figure(api, "postgate_queue_posts")

    with servers.receiver_down() as url:
        with bench.gateway(url, "full", data=data, extra=settings) as gateway:
            print(f"  {resident(gateway.pid):.0f} MB at first, {disk(data):.0f} MB of disk", flush=True)
            steer(api, "pause")
            if way == "lists":
                hand_in(gateway, api, port, count, steps, lanes, octets)
            else:
                bench.enter_context(sending(bench, gateway, count, lanes, 0, 1, octets))
                steps_of(gateway, "accepted", count, steps, queued)
        begun = time.monotonic()
        with bench.gateway(url, "full", data=data, extra=settings) as gateway:
            ready = time.monotonic() - begun
            while queued() < count:
                time.sleep(LOOK / 5)
            print(f"  takes mail {ready:.1f} s after a start, knows all after {time.monotonic() - begun:.1f} s and "
                  f"{own_time(gateway.pid):.1f} s of processor time, {resident(gateway.pid, 'VmHWM'):.0f} MB at most",
                  flush=True)
            if way == "lists":
                bench.enter_context(bench.http_sink(port))
            steer(api, "resume")
            steps_of(gateway, "drained", count, steps, lambda: count - queued())
            servers.settle(gateway.pid)
            print(f"  {disk(data):.0f} MB of disk at the end", flush=True)


if __name__ == "__main__":
    count, steps, lanes = [int(word) for word in sys.argv[2:5]] + [1_000_000, 10, 10][len(sys.argv[2:5]):]
    with Bench(sys.argv[1]) as bench:
        backlog(bench, count, steps, lanes, *sys.argv[5:6] or ["mail"])
