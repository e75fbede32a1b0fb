"""Attacks the built programs and reports what was lost.

usage: python3 tests/rigs [--length quick|short|full] [--programs DIRECTORY] [--write] [RIG...]

Each rig has a control that must fail, so that a rig that cannot find anything is noticed. `quick` shows that
the rig works, `short` is for CI, `full` is for docs/reliability.md, whose rows `--write` replaces. Exit codes:
0 nothing is lost, 1 something is wrong, 77 the machine lacks what the rig needs.
"""

import sys

sys.dont_write_bytecode = True

import argparse
import atexit
import os
import shutil
import signal
import time
from pathlib import Path

import blocked_log
import clock_jumps
import connections
import exposure
import fuzz
import kill_cycles
import memory_limit
import mutants
import power_cuts
import report
import simulation
import soak
import torture
from daemon import Daemon
from outcome import Unavailable

UNAVAILABLE = 77
REPOSITORY = Path(__file__).resolve().parents[2]

# The limit of the latency on a machine that does other things, for a build without optimization.
BUSY_MACHINE = {"seconds": 5, "max_p99_ms": 5000}
# The limit for an optimized build alone on a machine of CI, whose cores may be slower.
CI_MACHINE = {"seconds": 5, "max_p99_ms": 250}
# For each rig its function, and the arguments for each length.
RIGS = {
    "kill-cycles": (kill_cycles.run, {"quick": {"cycles": 10}, "short": {"cycles": 200}, "full": {"cycles": 1000}}),
    "power-cuts": (power_cuts.run, {"quick": {"cuts": 8}, "short": {"cuts": 40}, "full": {"cuts": 200}}),
    "memory-limit": (memory_limit.run, {"quick": {"kills": 1}, "short": {"kills": 3}, "full": {"kills": 20}}),
    "torture": (torture.run, {"quick": {"stride": 211}, "short": {"stride": 41}, "full": {}}),
    "migration-kills": (torture.run_migration_kills, {"quick": {"stride": 20}, "short": {"stride": 3}, "full": {}}),
    "checkpoint-kills": (torture.run_checkpoint_kills, {"quick": {"stride": 30}, "short": {"stride": 5}, "full": {}}),
    "connections": (connections.run, {"quick": BUSY_MACHINE, "short": CI_MACHINE, "full": {"seconds": 30}}),
    "blocked-log": (blocked_log.run, {"quick": {"jobs": 1500}, "short": {"jobs": 1500}, "full": {"jobs": 3000}}),
    "clock-jumps": (clock_jumps.run, {"quick": {"seconds": 1.5}, "short": {"seconds": 1.5}, "full": {"seconds": 10}}),
    "fuzz": (fuzz.run, {"quick": {"seconds": 1}, "short": {"seconds": 20}, "full": {"seconds": 600}}),
    "simulation": (simulation.run, {"quick": {"days": 20}, "short": {"days": 1000}, "full": {"days": 10_000}}),
    "mutants": (mutants.run, {"quick": {"shards": 500}, "short": {"shards": 50}, "full": {}}),
    "exposure": (exposure.run, {"quick": {}, "short": {}, "full": {}}),
    "soak": (soak.run, {"quick": {"seconds": 60, "sample_s": 1}, "short": {"seconds": 120, "sample_s": 1}, "full": {"seconds": 1800}}),
}


def isolate_mounts():
    """Runs this program again in a mount namespace of its own.

    A namespace that another program creates would else copy the mounted file systems and keep them mounted.
    """
    if os.getuid() == 0 and shutil.which("unshare") and not os.environ.get("RIGS_ISOLATED"):
        command = ["unshare", "--mount", sys.executable, *sys.argv]
        os.execvpe(command[0], command, os.environ | {"RIGS_ISOLATED": "1"})


def main():
    parser = argparse.ArgumentParser(prog="rigs", description=__doc__.splitlines()[0])
    parser.add_argument("rigs", nargs="*", metavar="RIG", help=", ".join(RIGS))
    parser.add_argument("--length", choices=("quick", "short", "full"), default="full")
    parser.add_argument("--programs", type=Path, default=REPOSITORY / "target/release")
    parser.add_argument("--write", action="store_true", help="update docs/reliability.md")
    arguments = parser.parse_args()
    unknown = set(arguments.rigs) - set(RIGS)
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; the rigs are {', '.join(RIGS)}")
    isolate_mounts()
    atexit.register(Daemon.kill_all)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(max(run(name, arguments) for name in arguments.rigs or RIGS))


def run(name, arguments):
    """Runs one rig and prints its row. Returns the exit code."""
    function, lengths = RIGS[name]
    started = time.monotonic()
    try:
        outcome = function(arguments.programs, **lengths[arguments.length])
    except Unavailable as error:
        print(f"{name}: skipped: {error}")
        return UNAVAILABLE
    print(outcome.row(name), f"{time.monotonic() - started:.0f} s", flush=True)
    for problem in outcome.problems[:50]:
        print(f"  {name}: {problem}", flush=True)
    if arguments.write and not outcome.problems:
        report.write_row(name, outcome)
    return 1 if outcome.problems else 0


main()
