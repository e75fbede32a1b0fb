"""Runs the fuzz targets, each for some seconds, beginning with the seeds in tests/corpus.

Needs cargo-fuzz and a nightly toolchain. A target that executed nothing or covered nothing is an error; a
crash leaves its input in fuzz/artifacts.
"""

import os
import re
import subprocess
from pathlib import Path

from outcome import Outcome, require

REPOSITORY = Path(__file__).resolve().parents[2]
SEEDS = REPOSITORY / "tests/corpus"
TARGET_DIRECTORY = REPOSITORY / "target/fuzz"


def run(_programs, seconds):
    require(is_installed(), "cargo-fuzz or a nightly toolchain is not installed")
    targets = re.findall(r'name = "(\w+)"\npath', (REPOSITORY / "fuzz/Cargo.toml").read_text())
    executed, coverage, problems = 0, [], []
    for target in targets:
        printed = fuzz(target, seconds)
        runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", printed)
        covered = [int(edges) for edges in re.findall(r"cov: (\d+)", printed)]
        executed += int(runs[1]) if runs else 0
        coverage.append(max(covered, default=0))
        if not (runs and int(runs[1])):
            problems.append(f"{target} executed nothing or crashed:\n{printed[-3000:]}")
        elif not coverage[-1]:
            problems.append(f"{target} covered nothing")
    return Outcome(
        f"{len(targets)} targets, {seconds} s each",
        f"{executed:,} executions, {len(problems)} crashes",
        f"the coverage of each target is above zero: {min(coverage):,} to {max(coverage):,} edges",
        problems,
    )


def is_installed():
    command = ["cargo", "+nightly", "fuzz", "--version"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def fuzz(target, seconds):
    """What the fuzzer printed. The code is safe Rust, so no sanitizer is used."""
    found = TARGET_DIRECTORY / "corpus" / target
    found.mkdir(parents=True, exist_ok=True)
    for body in (SEEDS / "answers" / target).glob("*/*"):
        (found / body.name).write_bytes(b"200\n\n" + body.read_bytes())
    command = ["cargo", "+nightly", "fuzz", "run", "--sanitizer=none", target, found, SEEDS / target]
    options = [f"-max_total_time={seconds}", "-print_final_stats=1", "-max_len=8192", "-timeout=10"]
    environment = os.environ | {"CARGO_TARGET_DIR": str(TARGET_DIRECTORY)}
    done = subprocess.run(
        [*command, "--", *options],
        cwd=REPOSITORY / "fuzz",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    # A crash prints its statistics too.
    return done.stdout if done.returncode == 0 else done.stdout.replace("stat::", "crashed::")
