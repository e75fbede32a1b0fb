"""Fails one system call of a process; see inject.c."""

import ctypes
import errno
import mmap
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

CALLS = ("fsync", "pwrite64", "openat", "ftruncate", "unlink", "connect", "read")
KILL = -1
FAULTS = {
    "EIO": errno.EIO,
    "ENOSPC": errno.ENOSPC,
    "EMFILE": errno.EMFILE,
    "EINTR": errno.EINTR,
    "kill": KILL,
}


@dataclass(frozen=True)
class Point:
    """The `number`th `call` of a scenario fails with `fault`."""

    scenario: str
    call: str
    number: int
    fault: str

    def __str__(self):
        return f"{self.scenario}: {self.call} {self.number} {self.fault}"


class PlanMemory(ctypes.Structure):
    _fields_ = [
        ("armed", ctypes.c_int),
        ("call", ctypes.c_int),
        ("number", ctypes.c_int),
        ("error", ctypes.c_int),
        ("hit", ctypes.c_int),
        ("counts", ctypes.c_int * len(CALLS)),
        ("target", ctypes.c_char * 256),
    ]


class Plan:
    """The memory that is shared with the process under test. Without a point, calls are only counted."""

    def __init__(self, directory, library, point=None):
        path = Path(directory) / "inject-plan"
        path.write_bytes(bytes(ctypes.sizeof(PlanMemory)))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), ctypes.sizeof(PlanMemory))
        self.memory = PlanMemory.from_buffer(self.map)
        if point:
            self.memory.call = CALLS.index(point.call)
            self.memory.number = point.number
            self.memory.error = FAULTS[point.fault]
        self.environment = {"LD_PRELOAD": str(library), "INJECT_PLAN": str(path)}

    def arm(self):
        self.memory.armed = 1

    def disarm(self):
        self.memory.armed = 0

    @property
    def was_hit(self):
        return bool(self.memory.hit)

    @property
    def target(self):
        return self.memory.target.decode(errors="replace")

    def counts(self):
        return dict(zip(CALLS, self.memory.counts))


def build_library():
    """Compiles inject.c; the caller removes the file."""
    descriptor, library = tempfile.mkstemp(prefix="jobtrack-inject-", suffix=".so")
    os.close(descriptor)
    source = Path(__file__).with_name("inject.c")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return Path(library)
