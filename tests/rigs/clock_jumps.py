"""Lets the wall clock of the daemon jump while it polls, with libfaketime.

The intervals between polls must not change, no time may run backwards in the history, and nothing may be
given up or deleted. In the control the monotonic clock jumps too, and the polls must stop.
"""

import time
from pathlib import Path

import daemon
import history
from fake_dune import FakeDune
from outcome import Outcome, require

LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
)
JUMPS = ("+1d", "-3d", "+400d", "+0")
# Jobs are polled every 200 ms; a busy machine may delay a poll.
MAX_GAP_S = 2.0


def find_library():
    return next((path for path in LIBRARIES if Path(path).exists()), None)


def run(programs, seconds):
    """Each jump lasts some seconds."""
    require(find_library(), "libfaketime is not installed")
    gaps, problems = observe(programs, JUMPS, seconds, monotonic_jumps=False)
    control_gaps, _ = observe(programs, ["-3d"], seconds + MAX_GAP_S, monotonic_jumps=True)
    if max(control_gaps) <= MAX_GAP_S:
        problems.append("the control went on polling")
    return Outcome(
        f"jumps by {', '.join(JUMPS)}",
        f"longest interval without a poll {max(gaps):.1f} s",
        f"monotonic clock jumps too: {max(control_gaps):.1f} s without a poll",
        problems,
    )


def observe(programs, jumps, seconds, monotonic_jumps):
    """The longest interval between two requests during each jump, and what is wrong."""
    dune = FakeDune(run_s=3600)
    home = daemon.Home(dune.base_url)
    clock = home.directory / "clock"
    clock.write_text("+0\n")
    environment = {
        "LD_PRELOAD": find_library(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "0" if monotonic_jumps else "1",
    }
    process = home.start(programs, env=environment)
    daemon.add_jobs(home, ["HELD1", "HELD2"])
    gaps, problems = [], []
    for jump in jumps:
        started = time.monotonic()
        # A reader never sees a half-written file.
        clock.with_suffix(".new").write_text(f"{jump}\n")
        clock.with_suffix(".new").rename(clock)
        time.sleep(seconds)
        gaps.append(longest_gap(dune.request_times, started, time.monotonic()))
        if gaps[-1] > MAX_GAP_S:
            problems.append(f"{jump}: no poll for {gaps[-1]:.1f} s")
    if not monotonic_jumps:
        problems += end_and_check(home, process, dune)
    process.kill()
    home.close()
    return gaps, problems


def longest_gap(times, start, end):
    moments = [start, *(at for at in times if start < at < end), end]
    return max(later - earlier for earlier, later in zip(moments, moments[1:]))


def end_and_check(home, process, dune):
    dune.release()
    end = time.monotonic() + daemon.DEADLINE_S
    while history.unfinished(home.database) and time.monotonic() < end:
        time.sleep(0.05)
    states = history.read(home.database, "SELECT remote_id, state FROM job ORDER BY id")
    problems = [] if states == [("HELD1", "succeeded"), ("HELD2", "succeeded")] else [f"{states}"]
    negative = "SELECT count(*) FROM job WHERE min(queue_s, run_s, total_s, detection_delay_s) < 0"
    if history.read(home.database, negative)[0][0]:
        problems.append("a duration is negative")
    if code := process.stop():
        problems.append(f"it stopped with {code}: {home.log_text()[-500:]}")
    return problems + history.violations(home.database)
