"""What a post costs while very many wait: accepting them, a start after a crash beside them, and the drain.

    python3 benches/backlog.py target/release [COUNT [STEPS [LANES]]]

Not part of benches/run: a million posts of 2 KiB take minutes and 3 GB of disk."""

import sys
import time

import servers
from delivery import extra, figure, sending, steer
from servers import Bench, free_port, own_time, resident

# Seconds between two looks at how far it is.
LOOK = 0.5


def steps_of(gateway, step, count, steps, done):
    """Says of each step how fast it went, what a post of it took of the gateway's processor time, and
    what memory it has."""
    begun, before, last, goal = time.monotonic(), own_time(gateway.pid), 0, count // steps
    while last < count:
        time.sleep(LOOK)
        number = done()
        if number < min(goal, count):
            continue
        now, spent = time.monotonic(), own_time(gateway.pid)
        print(f"  {number:10,.0f} {step} {(number - last) / (now - begun):9,.0f}/s "
              f"{(spent - before) / (number - last) * 1e6:6.1f} µs a post "
              f"{resident(gateway.pid):5.0f} MB", flush=True)
        begun, before, last, goal = now, spent, number, number + count // steps


def backlog(bench, count, steps, lanes, octets=2048):
    """Lanes are paused until all have come, one mail a post, and the gateway was killed once."""
    api, data = free_port(), bench.fresh("backlog")
    settings = extra().replace('address = ""', f'address = "127.0.0.1:{api}"')

    def queued():
        return figure(api, "postgate_queue_posts")

    with servers.receiver_down() as url:
        with bench.gateway(url, "full", data=data, extra=settings) as gateway:
            steer(api, "pause")
            process = bench.enter_context(sending(bench, gateway, count, lanes, 0, 1, octets))
            steps_of(gateway, "accepted", count, steps, queued)
        begun = time.monotonic()
        with bench.gateway(url, "full", data=data, extra=settings) as gateway:
            ready = time.monotonic() - begun
            while queued() < count:
                time.sleep(LOOK / 5)
            print(f"  takes mail {ready:.1f} s after a start, knows all after {time.monotonic() - begun:.1f} s and "
                  f"{own_time(gateway.pid):.1f} s of processor time, {resident(gateway.pid, 'VmHWM'):.0f} MB at most",
                  flush=True)
            steer(api, "resume")
            steps_of(gateway, "drained", count, steps, lambda: count - queued())
            process.kill()


if __name__ == "__main__":
    count, steps, lanes = [int(word) for word in sys.argv[2:]] + [1_000_000, 10, 10][len(sys.argv) - 2:]
    with Bench(sys.argv[1]) as bench:
        backlog(bench, count, steps, lanes)
