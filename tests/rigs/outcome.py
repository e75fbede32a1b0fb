"""What a rig reports: one row of docs/reliability.md, and what went wrong."""

from dataclasses import dataclass, field


class Unavailable(Exception):
    """This machine lacks something that the rig needs."""


@dataclass
class Outcome:
    amount: str
    result: str
    control: str
    problems: list = field(default_factory=list)
    # Files in docs/ and their text.
    pictures: dict = field(default_factory=dict)

    def row(self, name):
        return f"| `{name}` | {self.amount} | {self.result} | {self.control} |"


def require(condition, what):
    if not condition:
        raise Unavailable(what)
