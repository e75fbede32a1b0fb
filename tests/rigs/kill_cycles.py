"""Kills the daemon with SIGKILL at random moments, during adds and polls.

Nothing that was acknowledged or published may be missing after a kill, and at the end all jobs finish.
The control acknowledges each row just before its commit.
"""

import random
import subprocess
import sys
import tempfile
import threading
import time
from http.client import HTTPException
from pathlib import Path

import history
from daemon import Home, add_jobs, read_transitions
from fake_dune import FakeDune
from outcome import Outcome

RESUME_LIMIT_S = 5


def run(programs, cycles, seed=1):
    dune = FakeDune(run_s=0.3)
    home = Home(dune.base_url)
    evidence = history.Evidence()
    moments = random.Random(seed)
    problems, lost = [], []
    slowest_resume_s = 0
    for cycle in range(cycles):
        started = time.monotonic()
        daemon = home.start(programs)
        slowest_resume_s = max(slowest_resume_s, time.monotonic() - started)
        clients = start_clients(home, evidence, cycle)
        # The moment of the kill is random; nothing is waited for here.
        time.sleep(moments.uniform(0.005, 0.25))
        daemon.kill()
        for client in clients:
            client.join()
        lost += history.lost(home.database, evidence)
        if cycle % 20 == 0:
            problems += history.violations(home.database)
    found, missing_rows = finish(home, programs, evidence)
    problems += found
    lost += missing_rows
    if slowest_resume_s > RESUME_LIMIT_S:
        problems.append(f"a start took {slowest_resume_s:.1f} s")
    told, missing = control(min(cycles, 20), moments)
    if not missing:
        problems.append("the control lost nothing")
    return Outcome(
        f"{cycles:,} kills, {evidence.count():,} rows acknowledged or published",
        f"{len(lost):,} lost; ready again within {slowest_resume_s:.1f} s",
        f"acknowledged before the commit: {missing:,} of {told:,} lost",
        problems + lost,
    )


def start_clients(home, evidence, cycle):
    """Two clients that work until the daemon is gone: one adds jobs, one reads the history."""

    def add():
        number = 0
        try:
            while True:
                ids = [f"01JOB{cycle}N{n}" for n in range(max(number - 2, 0), number + 2)]
                evidence.acknowledge(add_jobs(home, ids))
                number += 2
        except (OSError, HTTPException):
            pass

    def read():
        try:
            while True:
                newest = max(evidence.transitions, default=0)
                evidence.publish(read_transitions(home, newest))
        except (OSError, HTTPException):
            pass

    clients = [threading.Thread(target=client) for client in (add, read)]
    for client in clients:
        client.start()
    return clients


def finish(home, programs, evidence):
    """Lets all jobs end after a last start. Returns what is wrong with the database and what it lost."""
    daemon = home.start(programs)
    problems = wait_until_finished(home)
    daemon.stop()
    lost = history.lost(home.database, evidence)
    problems += history.violations(home.database)
    home.close()
    return problems, lost


def wait_until_finished(home, deadline_s=60):
    end = time.monotonic() + deadline_s
    while history.unfinished(home.database):
        if time.monotonic() > end:
            return [f"{history.unfinished(home.database)} jobs do not end after the last restart"]
        time.sleep(0.05)
    return []


def control(cycles, moments):
    """Acknowledged and lost rows of a writer that acknowledges before the commit."""
    acknowledged = lost = 0
    with tempfile.TemporaryDirectory() as directory:
        database = Path(directory) / "control.db"
        for cycle in range(cycles):
            writer = start_control_writer(database, "FULL", "before", cycle)
            # On a busy machine the writer needs some time to start.
            first = writer.stdout.readline()
            time.sleep(moments.uniform(0.1, 0.2))
            writer.kill()
            told = len((first + writer.communicate()[0]).split())
            acknowledged += told
            lost += told - count_control_rows(database, cycle)
    return acknowledged, lost


def start_control_writer(database, synchronous, acknowledge, cycle, env=None):
    script = Path(__file__).with_name("control_writer.py")
    command = [sys.executable, script, database, synchronous, acknowledge, str(cycle)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def count_control_rows(database, cycle):
    try:
        sql = f"SELECT count(*) FROM acknowledged WHERE run = {cycle}"
        return history.read(database, sql)[0][0]
    except history.sqlite3.Error:
        return 0
