"""What the daemon does while a system call of it fails: one class for each scenario of the torture rig.

A scenario prepares a state directory once. For each point of failure the directory is copied, the daemon is
started, and `act` runs from `arm` to `disarm`. `act` records in the evidence what the daemon acknowledged or
published meanwhile, and ends early if the daemon does.
"""

import hashlib
import signal
import sqlite3
import subprocess
import time
from http.client import HTTPException
from pathlib import Path

import daemon
import history

REPOSITORY = Path(__file__).resolve().parents[2]
ACT_DEADLINE_S = 4


class Scenario:
    """The defaults: the calls after readiness are counted, on a database with jobs."""

    name = ""
    armed_from_start = False
    keeps_finished_jobs = True
    extra_toml = daemon.FAST_POLLING
    running_jobs = ("HELD1", "HELD2", "HELD3")
    finished_jobs = ("01DONE1", "01DONE2")

    def prepare(self, home, programs, evidence):
        process = home.start(programs)
        evidence.acknowledge(daemon.add_jobs(home, [*self.running_jobs, *self.finished_jobs]))
        wait_for(process, lambda: history.unfinished(home.database) == len(self.running_jobs))
        evidence.publish(daemon.read_transitions(home))
        if process.stop() != 0:
            raise RuntimeError(home.log_text())

    def prepare_running(self, home, process, evidence):
        """What is done when the daemon is ready, before calls are counted."""

    def act(self, home, process, dune, evidence):
        raise NotImplementedError

    def act_before_ready(self, home, process, dune, evidence):
        """What is done when the daemon is ready, where the calls of the start count."""


class Create(Scenario):
    """The daemon creates its database."""

    name = "create"
    armed_from_start = True

    def prepare(self, home, programs, evidence):
        pass


class Start(Scenario):
    """The daemon starts on a database with jobs and polls each of them."""

    name = "start"
    armed_from_start = True

    def act_before_ready(self, home, process, dune, evidence):
        wait_for(process, lambda: all(job in dune.submitted_at for job in self.running_jobs))


class Migration(Scenario):
    """The daemon migrates a database of the first schema to the newest one."""

    name = "migration"
    armed_from_start = True

    def prepare(self, home, programs, evidence):
        create_first_schema(home.database)
        evidence.acknowledge(dict(history.read(home.database, "SELECT remote_id, id FROM job")))
        rows = history.read(home.database, "SELECT seq, job_id, to_state FROM transition")
        evidence.publish({seq: (job, state) for seq, job, state in rows})


class Add(Scenario):
    """Clients add jobs."""

    name = "add"

    def act(self, home, process, dune, evidence):
        for ids in (["HELD4"], ["HELD5", "HELD6", "HELD1"]):
            evidence.acknowledge(tolerant(daemon.add_jobs, home, ids))


class Transition(Scenario):
    """Running jobs end."""

    name = "transition"

    def act(self, home, process, dune, evidence):
        dune.release()
        wait_for(process, lambda: tolerant(self.all_ended, home, evidence))

    def all_ended(self, home, evidence):
        evidence.publish(daemon.read_transitions(home))
        ended = [told for told in evidence.transitions.values() if told[1] == "succeeded"]
        return len(ended) == len(self.running_jobs) + len(self.finished_jobs)


class Checkpoint(Scenario):
    """The WAL is as large as it may be, and the next commits copy it to the database."""

    name = "checkpoint"
    frames_before = 985
    frame_bytes = 4096 + 24
    most_adds = 20

    def prepare_running(self, home, process, evidence):
        wal = home.database.with_name("jobtrack.db-wal")
        for number in range(self.frames_before):
            if wal.stat().st_size >= self.frames_before * self.frame_bytes:
                break
            evidence.acknowledge(daemon.add_jobs(home, [f"HELDW{number}"]))

    def act(self, home, process, dune, evidence):
        # Only a checkpoint writes to the database itself.
        written_at = home.database.stat().st_mtime_ns
        for number in range(self.most_adds):
            if home.database.stat().st_mtime_ns != written_at:
                break
            evidence.acknowledge(tolerant(daemon.add_jobs, home, [f"HELDX{number}"]))


class Prune(Scenario):
    """A reload changes the retention, and the daemon deletes the finished jobs."""

    name = "prune"
    keeps_finished_jobs = False
    retention = '\n[maintenance]\nprune_schedule = "* * * * * *"\nretention = { default = "%s" }\n'
    extra_toml = daemon.FAST_POLLING + retention % "400d"

    def prepare(self, home, programs, evidence):
        super().prepare(home, programs, evidence)
        kept = {job: number for job, number in evidence.jobs.items() if job in self.running_jobs}
        evidence.jobs = kept
        evidence.transitions = {
            seq: told for seq, told in evidence.transitions.items() if told[0] in kept.values()
        }

    def act(self, home, process, dune, evidence):
        config = home.directory / "config.toml"
        config.write_text(config.read_text().replace("400d", "100ms"))
        tolerant(daemon.request, home, "POST", "/v1/reload", {})
        wait_for(process, lambda: tolerant(self.all_deleted, home))

    def all_deleted(self, home):
        return daemon.request(home, "GET", "/v1/jobs?state=terminal")[1].get("jobs") == []


class Backup(Scenario):
    """A client writes a backup; one that appears must be complete."""

    name = "backup"

    def act(self, home, process, dune, evidence):
        backup = home.directory / "backup.db"
        client = [process.programs / "jobtrack", "--socket", home.socket, "backup", backup]
        done = subprocess.run(client, timeout=daemon.DEADLINE_S, capture_output=True, check=False)
        if backup.exists() != (done.returncode == 0):
            raise AssertionError(f"exit code {done.returncode}, file: {backup.exists()}")
        if backup.exists():
            found = history.lost(backup, evidence) + history.violations(backup)
            if found:
                raise AssertionError(f"the backup is not complete: {found}")


class Shutdown(Scenario):
    """The daemon is stopped while changes wait to be written."""

    name = "shutdown"

    def act(self, home, process, dune, evidence):
        dune.release()
        process.process.send_signal(signal.SIGTERM)
        wait_for(process, lambda: not process.is_running())


SCENARIOS = (Create(), Start(), Migration(), Add(), Transition(), Checkpoint(), Prune(), Backup(), Shutdown())


def tolerant(function, *arguments):
    """The result of a request, or nothing if the daemon does not answer it."""
    try:
        return function(*arguments)
    except (OSError, HTTPException, ValueError):
        return {}


def wait_for(process, condition):
    """Waits until the condition holds or the daemon ends; a fault may prevent both."""
    end = time.monotonic() + ACT_DEADLINE_S
    while time.monotonic() < end and process.is_running() and not condition():
        time.sleep(0.01)


def create_first_schema(database):
    """Creates a database as the first version of jobtrackd left it, with that version's sample rows."""
    database.parent.mkdir(mode=0o750)
    migration = REPOSITORY / "migrations/0001_init.sql"
    text = migration.read_bytes()
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA auto_vacuum = incremental")
    connection.execute("PRAGMA journal_mode = wal")
    connection.executescript(text.decode())
    connection.execute(
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,"
        " installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL,"
        " checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)"
    )
    connection.execute(
        "INSERT INTO _sqlx_migrations VALUES (1, 'init', CURRENT_TIMESTAMP, TRUE, ?, 0)",
        (hashlib.sha384(text).digest(),),
    )
    connection.executescript((REPOSITORY / "migrations/samples/0001.sql").read_text())
    connection.close()
    database.chmod(0o640)
