"""Fails each system call of each scenario in turn, with each error and with a kill.

Runs without a fault count the calls; a run under strace shows that none is overlooked. Then each call fails
once with each fault, in a fresh copy of the scenario's directory. The daemon must go on or exit with a
documented code. A restart without a fault must work, with nothing missing that was acknowledged, an intact
file and a legal history.
"""

import copy
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import daemon
import history
from fake_dune import FakeDune
from inject import CALLS, FAULTS, KILL, Plan, Point, build_library
from kill_cycles import count_control_rows, start_control_writer
from outcome import Outcome, require
from scenarios import SCENARIOS, tolerant, wait_for

# A call that depends on timing may not come in each run; such a point is tried again.
ATTEMPTS = 10
EXIT_CODES = {74: "disk or socket error", 78: "unusable configuration"}
# Most of the time of a point is spent waiting.
PARALLEL = 4 * (os.cpu_count() or 1)
WORKS_AGAIN_S = 15
CONTROL_POINTS = 5
# The calls that change a file or its name.
CHANGING_CALLS = ("fsync", "pwrite64", "ftruncate", "unlink")


def run(programs, names=None, faults=tuple(FAULTS), stride=1):
    """Tries the points of all scenarios, or of those with these names; with a stride, each `stride`th."""
    require(shutil.which("gcc"), "gcc is not installed")
    require(shutil.which("strace"), "strace is not installed")
    library = build_library()
    try:
        problems = overlooked_calls(programs, library)
        detected = control(library)
        results = []
        for scenario in (item for item in SCENARIOS if not names or item.name in names):
            with Bench(scenario, programs, library) as bench:
                points = points_of(scenario, bench.count(), faults)[::stride]
                started = time.monotonic()
                with ThreadPoolExecutor(PARALLEL) as workers:
                    results += workers.map(bench.try_point, points)
                took = time.monotonic() - started
                print(f"{scenario.name}: {len(points)} points, {took:.0f} s", file=sys.stderr)
    finally:
        library.unlink()
    if detected < CONTROL_POINTS:
        problems.append(f"the control lost rows at {detected} of {CONTROL_POINTS} points")
    missed = sum(not reached for _, reached, _ in results)
    passed = sum(reached and not found for _, reached, found in results)
    problems += [f"{point}: {what}" for point, _, found in results for what in found]
    sample = f"; 1 point in {stride}" if stride > 1 else ""
    return Outcome(
        f"{', '.join(CALLS)}: {', '.join(faults)}{sample}",
        f"{passed:,} of {len(results) - missed:,} points" + (f"; {missed} not reached again" if missed else ""),
        f"acknowledged before the commit: rows lost at {detected} of {CONTROL_POINTS} points",
        problems,
    )


def run_migration_kills(programs, stride=1):
    return run(programs, ["migration"], ["kill"], stride)


def run_checkpoint_kills(programs, stride=1):
    return run(programs, ["checkpoint"], ["kill"], stride)


def control(library):
    """At how many points a writer loses rows that acknowledges them before the commit."""
    detected = 0
    # The first calls of fsync are those of the creation.
    for number in range(10, 10 + CONTROL_POINTS):
        with tempfile.TemporaryDirectory(prefix="jobtrack-rig-") as directory:
            database = Path(directory) / "control.db"
            plan = Plan(directory, library, Point("control", "fsync", number, "EIO"))
            plan.arm()
            environment = os.environ | plan.environment
            writer = start_control_writer(database, "FULL", "before", 0, environment)
            told = len(writer.communicate(timeout=daemon.DEADLINE_S)[0].split())
            detected += told > count_control_rows(database, 0)
    return detected


def overlooked_calls(programs, library):
    """The calls that strace sees and inject.c does not, over the whole life of a daemon.

    What the dynamic loader and libc call internally is not counted by inject.c. These are only reads.
    """
    dune = FakeDune(run_s=0.05)
    home = daemon.Home(dune.base_url)
    plan = Plan(home.directory, library)
    trace = home.directory / "trace"
    variables = [f"--env={name}={value}" for name, value in plan.environment.items()]
    command = ["strace", "-f", "-qq", f"--trace={','.join(CALLS)}", "-o", trace, *variables]
    plan.arm()
    process = home.start(programs, prefix=command)
    daemon.add_jobs(home, ["01A", "01B"])
    wait_for(process, lambda: history.unfinished(home.database) == 0)
    subprocess.run(["pkill", "--parent", str(process.process.pid), "--signal", "TERM"], check=True)
    code = process.exit_code()
    lines = trace.read_text().splitlines()
    counts = plan.counts()
    home.close()
    seen = {call: sum(f" {call}(" in line for line in lines) for call in CHANGING_CALLS}
    found = [
        f"strace saw {seen[call]} calls of {call}, inject.c {counts[call]}"
        for call in CHANGING_CALLS
        if seen[call] != counts[call]
    ]
    return found if code == 0 else [*found, f"exit code {code} under strace"]


def add_and_await(home, remote_id, evidence, scenario):
    """Whether a job can be added and ends; a write that failed may be tried again for some seconds."""
    end = time.monotonic() + WORKS_AGAIN_S
    while not (added := tolerant(daemon.add_jobs, home, [remote_id])):
        if time.monotonic() > end:
            return ["the daemon accepts no jobs"]
        time.sleep(0.05)
    if scenario.keeps_finished_jobs:
        evidence.acknowledge(added)
    target = f"/v1/jobs/{added[remote_id]}?wait=1s"
    while not has_ended(job := daemon.request(home, "GET", target)[1], scenario):
        if time.monotonic() > end:
            return [f"a new job does not end: {job}"]
    return []


def has_ended(job, scenario):
    return job.get("terminal") or (job.get("code") == "not_found" and not scenario.keeps_finished_jobs)


def points_of(scenario, counts, faults):
    return [
        Point(scenario.name, call, number, fault)
        for call, count in counts.items()
        for number in range(1, count + 1)
        for fault in faults
    ]


def one_certificate():
    """The CA certificates of a system are some hundred files that are read alike: one stands for all."""
    for path in sorted(Path("/etc/ssl/certs").glob("*.pem")):
        return {"SSL_CERT_FILE": str(path)}
    return {}


class Bench:
    """The prepared directory of a scenario, from which each point starts."""

    def __init__(self, scenario, programs, library):
        self.scenario = scenario
        self.programs = programs
        self.library = library

    def __enter__(self):
        dune = FakeDune(run_s=0.05)
        self.template = Path(tempfile.mkdtemp(prefix="jobtrack-rig-template-")) / "state"
        self.evidence = history.Evidence()
        home = daemon.Home(dune.base_url, self.scenario.extra_toml, self.template)
        self.scenario.prepare(home, self.programs, self.evidence)
        home.close()
        dune.shutdown()
        dune.server_close()
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.template.parent)

    def count(self):
        """The calls of the scenario without a fault: those that come in each of three runs."""
        runs = [self.run_once(None) for _ in range(3)]
        for _, problems, _ in runs:
            if problems:
                raise AssertionError(f"{self.scenario.name} fails without a fault: {problems}")
        return {call: min(counts[call] for _, _, counts in runs) for call in runs[0][2]}

    def try_point(self, point):
        for _ in range(ATTEMPTS):
            reached, problems, _ = self.run_once(point)
            if reached or problems:
                break
        for problem in problems or ([] if reached else ["not reached again"]):
            print(f"{point}: {problem}", file=sys.stderr)
        return point, reached, problems

    def run_once(self, point):
        """Whether the point was reached, what went wrong, and the counted calls."""
        dune = FakeDune(run_s=0.05)
        home = daemon.Home(dune.base_url, self.scenario.extra_toml)
        evidence = copy.deepcopy(self.evidence)
        if self.template.exists():
            shutil.copytree(self.template, home.state)
        plan = Plan(home.directory, self.library, point)
        problems = []
        try:
            problems += self.act(home, dune, plan, evidence)
            problems += self.restart(home, dune, evidence)
        except daemon.Hang as hang:
            problems.append(f"hang: {hang}")
        except Exception as error:  # Each failure of a check is a finding about this point.
            problems.append(f"{type(error).__name__}: {error}")
        if problems and point:
            problems = [f"{problem} [{plan.target}]" for problem in problems]
        home.close()
        dune.shutdown()
        dune.server_close()
        return plan.was_hit, problems, plan.counts()

    def act(self, home, dune, plan, evidence):
        scenario = self.scenario
        if scenario.armed_from_start:
            plan.arm()
        process = daemon.Daemon(home, self.programs, env=plan.environment | one_certificate())
        if process.wait_until_ready():
            if scenario.armed_from_start:
                scenario.act_before_ready(home, process, dune, evidence)
            else:
                scenario.prepare_running(home, process, evidence)
                plan.arm()
                scenario.act(home, process, dune, evidence)
        plan.disarm()
        return self.check_end(home, process, plan, evidence)

    def check_end(self, home, process, plan, evidence):
        """How the daemon ended, or whether it still works."""
        killed = plan.was_hit and plan.memory.error == KILL
        if not killed and process.is_running() and process.answers():
            found = add_and_await(home, "01AFTER", evidence, self.scenario)
            code = process.stop()
            return found if code == 0 else [*found, f"it stopped with {code}: {home.log_text()[-600:]}"]
        code = process.exit_code()
        if killed:
            return [] if code == -9 else [f"exit code {code} after a kill"]
        allowed = code == 0 and self.scenario.name == "shutdown" or plan.was_hit and code in EXIT_CODES
        return [] if allowed else [f"exit code {code}: {home.log_text()[-600:]}"]

    def restart(self, home, dune, evidence):
        """Starts the daemon without a fault; it must hold all evidence, and accept and finish a job."""
        process = home.start(self.programs)
        found = add_and_await(home, "01PROBE", evidence, self.scenario)
        evidence.publish(daemon.read_transitions(home))
        code = process.stop()
        if code:
            found.append(f"exit code {code} after the restart")
        return found + history.lost(home.database, evidence) + history.violations(home.database)
