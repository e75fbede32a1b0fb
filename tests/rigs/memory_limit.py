"""Lets the kernel's out-of-memory killer end the daemon while it works.

The daemon runs in a memory control group whose limit is lowered step by step until the kernel kills it.
Needs root and control groups of version 1 or 2. The rig fails unless the kernel killed each daemon.
"""

import os
import time
from pathlib import Path

import history
from daemon import Daemon, Home
from fake_dune import FakeDune
from kill_cycles import finish, start_clients
from outcome import Outcome, require

MEMORY_V1 = Path("/sys/fs/cgroup/memory")
MEMORY_V2 = Path("/sys/fs/cgroup")
STEP_BYTES = 1 << 20


class MemoryGroup:
    """A memory control group. Raises OSError where there is none."""

    def __init__(self):
        is_v1 = (MEMORY_V1 / "memory.limit_in_bytes").exists()
        parent = MEMORY_V1 if is_v1 else MEMORY_V2
        self.path = parent / f"jobtrack-rig-{os.getpid()}"
        self.limit_file = "memory.limit_in_bytes" if is_v1 else "memory.max"
        self.usage_file = "memory.usage_in_bytes" if is_v1 else "memory.current"
        self.path.mkdir()

    def join(self, pid):
        (self.path / "cgroup.procs").write_text(str(pid))

    def usage(self):
        return int((self.path / self.usage_file).read_text())

    def set_limit(self, limit):
        """Sets the limit. The kernel refuses one that is below what it cannot take back."""
        try:
            (self.path / self.limit_file).write_text(str(limit))
        except OSError:
            pass

    def close(self):
        self.path.rmdir()


def run(programs, kills):
    require(can_limit_memory(), "no memory control group can be made")
    dune = FakeDune(run_s=0.3)
    home = Home(dune.base_url)
    evidence = history.Evidence()
    problems, lost, killed = [], [], 0
    for cycle in range(kills):
        daemon = home.start(programs)
        clients = start_clients(home, evidence, cycle)
        group = MemoryGroup()
        killed += kill_by_limit(daemon, group)
        daemon.kill()
        for client in clients:
            client.join()
        group.close()
        lost += history.lost(home.database, evidence)
    found, missing_rows = finish(home, programs, evidence)
    problems += found
    lost += missing_rows
    if killed < kills:
        problems.append(f"the kernel killed {killed} of {kills} daemons")
    return Outcome(
        f"{killed} kills by the kernel, {evidence.count():,} rows acknowledged or published",
        f"{len(lost):,} lost",
        "as for `kill-cycles`",
        problems + lost,
    )


def can_limit_memory():
    try:
        MemoryGroup().close()
        return True
    except OSError:
        return False


def kill_by_limit(daemon, group):
    """Lowers the limit below what the daemon has until the kernel kills it. Returns whether it did."""
    time.sleep(0.1)
    group.join(daemon.process.pid)
    end = time.monotonic() + 20
    limit = 16 * STEP_BYTES
    while daemon.is_running() and time.monotonic() < end:
        group.set_limit(max(limit, 65536))
        limit -= STEP_BYTES
        time.sleep(0.01)
    return daemon.process.poll() == -9
