"""The table in README.md: what works for whom."""

from harness.cases import BODIES, FORMS
from harness.judge import Verdict

BEGIN, END = "<!-- clients -->\n", "<!-- end of clients -->\n"


def cells(verdicts):
    """What a client's row says, from its verdicts by (form, body): texts by form."""
    return {form: cell({body: verdicts[form, body] for body in BODIES}) for form in FORMS
            if (form, "form") in verdicts}


def cell(verdicts):
    """One word when all bodies fare alike, else the best one and who fares worse."""
    order = list(Verdict)
    best = min(verdicts.values(), key=order.index)
    worse = [f"{body} {verdict.value}" for body, verdict in verdicts.items() if verdict != best]
    return "; ".join([best.value, *worse])


def render(rows):
    """The table's lines, with a note for each text that is no single word.

    Rows are texts by form, by name and version.
    """
    notes = []

    def short(text):
        if ";" not in text:
            return text
        first, _, rest = text.partition("; ")
        if rest not in notes:
            notes.append(rest)
        return f"{first} ({notes.index(rest) + 1})"
    header = ["client", "version", *FORMS]
    lines = [row_text(header), row_text(["---"] * len(header))]
    lines += [row_text([*names, *(short(texts.get(form, "-")) for form in FORMS)]) for names, texts in rows.items()]
    return lines, [f"({number}) {note}" for number, note in enumerate(notes, 1)]


def row_text(words):
    return f"| {' | '.join(words)} |"


def section(rows):
    lines, notes = render(rows)
    text = "\n".join(lines) + "\n"
    return text + (f"\n{'; '.join(notes)}.\n" if notes else "")


def kept(readme):
    """The table as it is in the repository."""
    text = readme.read_text()
    return text.partition(BEGIN)[2].partition(END)[0]


def rewrite(readme, text):
    before, _, rest = readme.read_text().partition(BEGIN)
    readme.write_text(before + BEGIN + text + END + rest.partition(END)[2])
