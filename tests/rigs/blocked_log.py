"""Connects the daemon's log to something that is full and is never read.

Polls, adds, the status and the shutdown must go on. The control writes its log lines synchronously.
"""

import os
import pty
import select
import socket
import subprocess
import sys
import time
from http.client import HTTPException

import daemon
import history
from fake_dune import FakeDune
from outcome import Outcome

SINKS = ("pipe", "terminal", "socket")
MAX_ADD_S = 1
MAX_STOP_S = 6
DEADLINE_S = 60
ANSWER_S = 5


def open_sink(kind):
    """Both ends of a sink that holds a few KiB: the one that nobody reads, and the one to write to."""
    if kind == "pipe":
        return os.pipe()
    if kind == "terminal":
        return pty.openpty()
    ends = socket.socketpair()
    return tuple(end.detach() for end in ends)


def run(programs, jobs):
    results = [run_with(kind, programs, jobs) for kind in SINKS]
    problems = [problem for result in results for problem in result]
    hung = control()
    if hung < len(SINKS):
        problems.append(f"only {hung} of {len(SINKS)} controls hung")
    return Outcome(
        f"{', '.join(SINKS)}; {jobs:,} jobs each",
        f"{len(problems)} problems" if problems else "all jobs ended, all requests answered",
        f"synchronous writes: {hung} of {len(SINKS)} hung",
        problems,
    )


def run_with(kind, programs, jobs):
    dune = FakeDune(run_s=0.05)
    home = daemon.Home(dune.base_url)
    unread, log = open_sink(kind)
    environment = {"RUST_LOG": "jobtrack=debug"}
    process = home.start(programs, env=environment, stderr=log)
    try:
        problems = work(home, jobs)
        started = time.monotonic()
        code = process.stop(MAX_STOP_S * 5)
        if code or time.monotonic() - started > MAX_STOP_S:
            problems.append(f"it stopped with {code} after {time.monotonic() - started:.1f} s")
        # The rig proves nothing if the log was not full.
        if select.select([], [log], [], 0)[1]:
            problems.append("the sink has room left: more jobs are needed")
        problems += history.violations(home.database)
    except (daemon.Hang, OSError, HTTPException) as error:
        problems = [f"hang: {error!r}"]
        process.kill()
    os.close(unread)
    os.close(log)
    home.close()
    return [f"{kind}: {problem}" for problem in problems]


def work(home, jobs):
    """Adds jobs and waits until all have ended."""
    problems = []
    for first in range(0, jobs, 100):
        started = time.monotonic()
        daemon.add_jobs(home, [f"01JOB{n}" for n in range(first, first + 100)], ANSWER_S)
        if time.monotonic() - started > MAX_ADD_S:
            problems.append(f"an add took {time.monotonic() - started:.1f} s")
    end = time.monotonic() + DEADLINE_S
    while daemon.request(home, "GET", "/v1/jobs?state=active&limit=1", None, ANSWER_S)[1]["jobs"]:
        if time.monotonic() > end:
            return [*problems, "jobs do not end"]
        time.sleep(0.1)
    daemon.request(home, "GET", "/v1/status", None, ANSWER_S)
    return problems


def control():
    """On how many of the sinks a process hangs that writes its log synchronously."""
    script = "import sys\nfor _ in range(100_000): sys.stderr.write('a line of the log\\n')"
    hung = 0
    for kind in SINKS:
        unread, log = open_sink(kind)
        writer = subprocess.Popen([sys.executable, "-c", script], stderr=log)
        try:
            writer.wait(2)
        except subprocess.TimeoutExpired:
            hung += 1
            writer.kill()
            writer.wait()
        os.close(unread)
        os.close(log)
    return hung
