"""What composing costs in each format; benches/measure.py puts it into the report."""

import servers
from servers import Broken

# Columns of a mail of 25 MiB in the table of benches/compose.rs: MB/s, of base64, memory added.
LARGE = {"an attachment": slice(3, 6), "a page": slice(6, 9)}


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
        "compose slowest": min(large, key=lambda row: max(row[1][0] / 100, row[1][1] / 0.5)),
        "compose largest": max(large, key=lambda row: row[1][2]),
    }


def slowest(door):
    """One of two must be met: a rate, or a share of a plain copy through base64."""
    what = "composing 25 MiB, the slowest format: rate, or share of a copy through base64"
    needed = "≥ 100 MB/s or ≥ 0.5"
    if "compose slowest" not in door:
        return what, needed, "not measured", None
    name, (rate, share, _) = door["compose slowest"]
    return what, needed, f"{rate:.0f} MB/s, {share:.2f} ({name})", rate >= 100 or share >= 0.5


def largest(door):
    what, needed = "memory that composing 25 MiB adds in any format, of the mail", "≤ 2 times"
    if "compose largest" not in door:
        return what, needed, "not measured", None
    name, (_, _, added) = door["compose largest"]
    return what, needed, f"{added:.2f} times ({name})", added <= 2
