"""What each format costs: composing alone, and a mail of 25 MiB from SMTP to its receiver.

benches/measure.py puts both into the report. The second alone, when all is built:

    python3 benches/formats.py target/release [FORMAT ...]
"""

import base64
import subprocess
import sys
import time

import servers
from servers import Bench, Broken, await_posts

# Columns of a mail of 25 MiB in the table of benches/compose.rs: MB/s, of base64, memory added.
LARGE = {"an attachment": slice(3, 6), "a page": slice(6, 9)}

FORMATS = ("raw", "body", "json", "multipart", "sendgrid", "sendgrid-raw", "mailgun", "mailgun-mime", "postmark",
           "cloudmailin", "cloudmailin-multipart", "postal", "postal-raw", "ses-sns", "smtp2http", "action-mailbox",
           "template:slack")
# A little below the limit for messages.
OCTETS = (25 << 20) - 65536


def compose(bench):
    """Runs the table; of what has one target for all formats, the worst."""
    with bench.running(bench.binaries / "examples/compose") as process:
        text = process.stdout.read()
    lines = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines()]
    rows = {cells[0]: cells for cells in lines if len(cells) == 9 and cells[2][:1].isdigit()}
    if "json" not in rows:
        raise Broken(f"compose printed no table {servers.last_error(process.errors)}")
    print(text, flush=True)
    large = [(f"{name}, {what}", [float(cell) for cell in cells[columns]])
             for name, cells in rows.items() for what, columns in LARGE.items()]
    return {
        "compose small": float(rows["json"][2]),
        # The nearest to missing both: a rate, or a share of a plain copy through base64.
        "compose slowest": min(large, key=lambda row: nearness(row[1])),
        "compose largest": max(large, key=lambda row: row[1][2]),
    }


def nearness(row):
    """How well a rate and a share do, whichever does better."""
    return max(row[0] / 100, row[1] / 0.5)


def mail():
    """A mail of 25 MiB, most of it an attachment, with line ends as smtp-source wants them."""
    head = b"From: ann@app.example\nTo: in@hooks.example\nSubject: A file\nMIME-Version: 1.0\n" \
           b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nHere it is.\n--b\nContent-Type: application/pdf\n" \
           b"Content-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=a.pdf\n\n"
    line = base64.b64encode(b"\x5a" * 57) + b"\n"
    # Each line is an octet longer when it is sent.
    return head + line * ((OCTETS - 2 * len(head)) // (len(line) + 1)) + b"--b--\n"


def send(port, path, count, sessions):
    command = ["smtp-source", "-d", "-s", str(sessions), "-m", str(count), "-F", str(path),
               "-t", servers.RECIPIENT, f"127.0.0.1:{port}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    if done.returncode != 0 or done.stderr:
        raise Broken(f"{count} mails of 25 MiB broke off: {done.stderr.strip()[:200]}")


def whole(bench, count, formats=FORMATS, sessions=2):
    """From the first octet over SMTP until the receiver has the last post; the worst of all formats."""
    with bench.running(bench.binaries / "examples/compose", "base64") as process:
        copied = float(process.stdout.read())
    path = bench.directory / "mail"
    path.write_bytes(mail())
    rows = []
    with bench.http_sink() as sink:
        for name in formats:
            with bench.gateway(sink.url, "full", name) as gateway:
                arrived = await_posts(sink.control, 0)
                # The spool has its first segments then.
                send(gateway.port, path, sessions, sessions)
                arrived = await_posts(sink.control, arrived + sessions)
                begun = time.monotonic()
                send(gateway.port, path, count, sessions)
                await_posts(sink.control, arrived + count)
                seconds = time.monotonic() - begun
            octets = count * OCTETS
            rows.append((name, [octets / seconds / 1e6, copied * count / seconds]))
            print(f"  25 MiB end to end, {name:22} {rows[-1][1][0]:6.0f} MB/s, {rows[-1][1][1]:.2f} of a copy", flush=True)
    return {"whole slowest": min(rows, key=lambda row: nearness(row[1]))}


def is_met(row):
    return nearness(row) >= 1


def one_of_two(door, key, what):
    """One of two must be met: a rate, or a share of a plain copy through base64."""
    what, needed = f"{what}, the slowest format: rate, or share of a copy through base64", "≥ 100 MB/s or ≥ 0.5"
    if key not in door:
        return what, needed, "not measured", None
    name, row = door[key]
    return what, needed, f"{row[0]:.0f} MB/s, {row[1]:.2f} ({name})", is_met(row)


def slowest(door):
    yield one_of_two(door, "compose slowest", "composing 25 MiB")
    yield one_of_two(door, "whole slowest", "25 MiB from SMTP to the receiver")


def largest(door):
    what, needed = "memory that composing 25 MiB adds in any format, of the mail", "≤ 2 times"
    if "compose largest" not in door:
        return what, needed, "not measured", None
    name, (_, _, added) = door["compose largest"]
    return what, needed, f"{added:.2f} times ({name})", added <= 2


def main(binaries, formats):
    with Bench(binaries) as bench:
        name, row = whole(bench, 12, formats or FORMATS)["whole slowest"]
    print(f"the slowest: {name}, {row[0]:.0f} MB/s, {row[1]:.2f} of a copy through base64")
    return 0 if is_met(row) else 1


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
