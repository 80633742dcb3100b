"""The programs that people have for the job today, beside which the gateway is measured: they post each
message before they answer it, and keep nothing."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import servers
from servers import Broken, await_posts, free_port, load, wait_for_port

HERE = Path(__file__).resolve().parent
# What is downloaded stays here.
PLACE = HERE.parent / os.environ.get("CARGO_TARGET_DIR", "target") / "others"
AIOSMTPD = ["aiosmtpd==1.4.6", "aiohttp==3.14.5"]
HARAKA = "Haraka@3.3.4"
# They are slower than the gateway: so many messages tell as much.
SHARE = 5


def installed(*command):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise Broken(f"it cannot be installed: {(done.stderr.strip().splitlines() or ['no reason'])[-1][:200]}")


@contextmanager
def aiosmtpd(bench, url):
    python = PLACE / "python/bin/python"
    if not python.exists():
        installed(sys.executable, "-m", "venv", PLACE / "python")
    installed(python, "-m", "pip", "install", "--quiet", *AIOSMTPD)
    port = free_port()
    with bench.running(python, HERE / "others_aiosmtpd.py", port, url) as process:
        wait_for_port(port)
        process.port = port
        yield process


@contextmanager
def haraka(bench, url):
    if not shutil.which("npm"):
        raise Broken("npm is not installed")
    installed("npm", "install", "--silent", "--no-audit", "--no-fund", "--omit=optional", "--prefix", PLACE / "haraka",
              HARAKA)
    root, port = bench.fresh("haraka"), free_port()
    (root / "config").mkdir()
    (root / "plugins").mkdir()
    shutil.copy(HERE / "others_haraka.js", root / "plugins/post.js")
    for name, text in {"smtp.ini": f"listen=127.0.0.1:{port}\n", "plugins": "post\n", "me": "haraka.example\n",
                       "connection.ini": "[message]\n[uuid]\n[headers]\n[max]\n", "loglevel": "LOGCRIT\n"}.items():
        (root / "config" / name).write_text(text)
    program = PLACE / "haraka/node_modules/.bin/haraka"
    with bench.running("env", f"POST_URL={url}", program, "-c", root) as process:
        wait_for_port(port)
        process.port = port
        yield process


OTHERS = {"aiosmtpd with aiohttp": aiosmtpd, "Haraka with a plugin": haraka}


def deliver(bench, found, row, sink, count, octets, sessions):
    """Mail until its last post was answered, as for the gateway from end to end."""
    with OTHERS[row](bench, sink.url) as other:
        load(other.port, count // 10, octets, sessions)
        arrived, before = await_posts(sink.url, 0), servers.family_time(other.pid)
        seconds = load(other.port, count, octets, sessions)
        await_posts(sink.url, arrived + count)
        found.note(row, count, seconds, servers.family_time(other.pid) - before)
