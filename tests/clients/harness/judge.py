"""What became of a mail, from what everybody says about it."""

from dataclasses import dataclass, field
from enum import Enum


class Verdict(Enum):
    OK = "ok"
    CHANGED = "changed"
    HERE = "refused here"
    CLIENT = "refused by client"
    # What must never be.
    LOST = "LOST: the client says it is sent, nothing arrived"
    PHANTOM = "PHANTOM: the client says it is not sent, and it arrived"
    TWICE = "TWICE: two posts arrived"
    UNHELPFUL = "UNHELPFUL: refused without a word of what to do instead"
    HUNG = "HUNG: the client did not end"


FAULTS = (Verdict.LOST, Verdict.PHANTOM, Verdict.TWICE, Verdict.UNHELPFUL, Verdict.HUNG)
# In every refusal of an address: how to get one that works.
HELP = "printed by: postgate address URL"


@dataclass
class Evidence:
    """What is known of one case."""

    case: object
    # The client's exit code, None if it had to be ended, and what it printed.
    code: int | None = None
    output: str = ""
    # What the relay's log says about it, and whether the relay gave it up.
    relayed: list = field(default_factory=list)
    is_bounced: bool = False
    # The gateway's side of the dialogue.
    dialogue: list = field(default_factory=list)
    arrivals: list = field(default_factory=list)

    @property
    def is_claimed(self):
        """Whether the client believes that the mail is on its way."""
        return self.code == 0 and not self.is_bounced

    def is_intact(self):
        """Whether the request is the one that was meant, octet for octet."""
        case, arrival = self.case, self.arrivals[0]
        return (arrival.method, arrival.target, arrival.body) == ("POST", case.target, case.octets) \
            and arrival.headers.get("content-type") == case.content_type \
            and arrival.headers.get("x-case") == case.id

    def refusals(self):
        return [line for line in self.dialogue if line.startswith(("> 4", "> 5"))]


def judge(evidence):
    if evidence.code is None:
        return Verdict.HUNG
    # An attempt that is repeated has the same id.
    if len({arrival.headers.get("postgate-id") for arrival in evidence.arrivals}) > 1:
        return Verdict.TWICE
    if evidence.arrivals and not evidence.is_claimed:
        return Verdict.PHANTOM
    if evidence.arrivals:
        return Verdict.OK if evidence.is_intact() else Verdict.CHANGED
    if evidence.is_claimed:
        return Verdict.LOST
    refusals = evidence.refusals()
    if not refusals:
        return Verdict.CLIENT
    return Verdict.HERE if any(HELP in refusal for refusal in refusals) else Verdict.UNHELPFUL
