"""Cuts off the file system below the daemon, as a power failure does, at random moments.

EXT4_IOC_SHUTDOWN with NOLOGFLUSH stops an ext4 file system without writing anything that is still in memory.
After mounting it again, all that was acknowledged must be there. The control writes with `synchronous = NORMAL`.
Needs root and a loop mount.
"""

import fcntl
import os
import random
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import history
from daemon import Daemon, Home
from fake_dune import FakeDune
from kill_cycles import count_control_rows, start_clients, start_control_writer, wait_until_finished
from outcome import Outcome, Unavailable, require

EXT4_IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = 2


class Ext4:
    """A small ext4 file system on a loop device."""

    def __init__(self, megabytes=64, options="loop"):
        self.directory = tempfile.mkdtemp(prefix="jobtrack-disk-")
        self.image = Path(self.directory) / "image"
        self.path = Path(self.directory) / "disk"
        self.options = options
        self.path.mkdir()
        subprocess.run(["truncate", "-s", f"{megabytes}M", self.image], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", self.image], check=True)
        self.mount()

    def mount(self):
        subprocess.run(["mount", "-o", self.options, self.image, self.path], check=True)

    def cut_power(self):
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(descriptor)

    def unmount(self):
        subprocess.run(["umount", self.path], check=True)

    def close(self):
        subprocess.run(["umount", "-l", self.path], check=False, stderr=subprocess.DEVNULL)
        self.image.unlink()
        self.path.rmdir()
        os.rmdir(self.directory)


def run(programs, cuts, seed=1):
    """Each fourth cut is soon after the creation of a database."""
    require_loop_mount()
    dune = FakeDune(run_s=0.3)
    moments = random.Random(seed)
    disk = Ext4()
    problems, lost = [], []
    acknowledged = 0
    home = evidence = None
    for cut in range(cuts):
        is_new = cut % 4 == 0
        if is_new:
            acknowledged += evidence.count() if evidence else 0
            home, evidence = new_home(dune, disk, cut, home), history.Evidence()
        cut_once(programs, home, disk, evidence, cut, moments, is_new)
        if home.database.exists():
            lost += history.lost(home.database, evidence) if evidence.count() else []
            problems += violations_after_restart(programs, home)
        elif evidence.count():
            lost += [f"the database, with {evidence.count()} rows"]
    acknowledged += evidence.count()
    home.close()
    disk.close()
    told, missing = control(min(cuts, 10), moments)
    if not missing:
        problems.append("the control lost nothing")
    return Outcome(
        f"{cuts:,} cuts, {acknowledged:,} rows acknowledged or published",
        f"{len(lost):,} lost",
        f"`synchronous = NORMAL`: {missing:,} of {told:,} lost",
        problems + lost,
    )


def require_loop_mount():
    require(os.getuid() == 0, "root is required")
    require(shutil.which("mkfs.ext4"), "mkfs.ext4 is not installed")
    try:
        Ext4().close()
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"no loop mount: {error}") from error


def new_home(dune, disk, cut, previous):
    if previous:
        previous.close()
    return Home(dune.base_url, state=disk.path / f"state-{cut}")


def cut_once(programs, home, disk, evidence, cut, moments, is_new):
    daemon = Daemon(home, programs)
    clients = []
    # Each second new database is cut while it is being created, before the daemon is ready.
    if is_new and cut % 8 == 0:
        time.sleep(moments.uniform(0.0, 0.15))
    elif daemon.wait_until_ready():
        clients = start_clients(home, evidence, cut)
        time.sleep(moments.uniform(0.005, 0.25))
    disk.cut_power()
    daemon.kill()
    for client in clients:
        client.join()
    disk.unmount()
    disk.mount()


def violations_after_restart(programs, home):
    daemon = home.start(programs)
    found = wait_until_finished(home)
    code = daemon.stop()
    if code:
        found.append(f"the daemon stopped with {code} after a cut")
    return found + history.violations(home.database)


def control(cuts, moments):
    """Acknowledged and lost rows of a writer with `synchronous = NORMAL` on such a file system."""
    disk = Ext4()
    acknowledged = lost = 0
    for cut in range(cuts):
        database = disk.path / "control.db"
        writer = start_control_writer(database, "NORMAL", "after", cut)
        time.sleep(moments.uniform(0.1, 0.3))
        disk.cut_power()
        writer.kill()
        told = len(writer.communicate()[0].split())
        disk.unmount()
        disk.mount()
        acknowledged += told
        lost += told - count_control_rows(database, cut)
    disk.close()
    return acknowledged, lost
