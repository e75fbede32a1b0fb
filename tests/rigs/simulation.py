"""Runs the simulation of the daemon for some days; see tests/README.md.

The control is a test, `planted_bugs_are_found`, which plants bugs around the daemon.
"""

import re
import subprocess
from pathlib import Path

from outcome import Outcome

REPOSITORY = Path(__file__).resolve().parents[2]


def run(_programs, days):
    command = ["cargo", "bench", "--locked", "--bench", "simulate", "--", "--days", str(days)]
    done = subprocess.run(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    simulated = re.search(r"^(\d+) simulations, (\d+) simulated days; (.*); (\d+) events", done.stdout, re.MULTILINE)
    problems = [] if done.returncode == 0 and simulated else [done.stdout[-5000:]]
    if not simulated:
        return Outcome(f"{days:,} days", "not simulated", "", problems)
    return Outcome(
        f"{int(simulated[2]):,} simulated days of {int(simulated[1]):,} seeds; {simulated[3]}",
        "no rule was broken" if not problems else "a rule was broken",
        "the four planted bugs are found (test `planted_bugs_are_found`)",
        problems,
    )
