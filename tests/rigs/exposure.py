"""Reads the exposure of the shipped service, as `systemd-analyze security` computes it."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from outcome import Outcome, require

UNIT = Path(__file__).resolve().parents[2] / "systemd/jobtrackd.service"
MAX_EXPOSURE = 1.5


def run(_programs):
    require(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    exposure = measure(UNIT.read_text())
    # The control is a service with the same program and no hardening.
    bare = measure("[Service]\nExecStart=/bin/true\n")
    problems = [] if exposure <= MAX_EXPOSURE < bare else [f"exposure {exposure}, control {bare}"]
    return Outcome("`systemd-analyze security --offline`", f"exposure {exposure}", f"no hardening: {bare}", problems)


def measure(unit):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / UNIT.name
        path.write_text(unit)
        command = ["systemd-analyze", "security", "--offline=true", path]
        printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return float(re.search(r"Overall exposure level .*?: ([0-9.]+)", printed)[1])
