"""Runs the real `jobtrackd` in a directory, and speaks to it over its socket.

Used by every rig. Every wait has a deadline; a process that misses it is killed and reported as a hang.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

DEADLINE_S = 30

FAST_POLLING = """
requests_per_minute = 30000
policy = "backoff"
min_interval = "100ms"
max_interval = "200ms"
"""


class Hang(Exception):
    """The daemon did not do something before the deadline."""


class Home:
    """The directory of a daemon: config, database, socket and log. Removed by `close`."""

    def __init__(self, base_url, extra_toml=FAST_POLLING, state=None, control_toml=""):
        self.directory = Path(tempfile.mkdtemp(prefix="jobtrack-rig-"))
        self.state = Path(state) if state else self.directory / "state"
        self.database = self.state / "jobtrack.db"
        self.socket = self.directory / "run/control.sock"
        self.log = self.directory / "log"
        (self.directory / "key").write_text("fake-api-key\n")
        (self.directory / "key").chmod(0o600)
        (self.directory / "config.toml").write_text(
            f'[store]\npath = "{self.database}"\n'
            f'[control]\nsocket = "{self.socket}"\n{control_toml}\n'
            f'[providers.dune]\nkind = "dune"\nbase_url = "{base_url}"\n'
            f'api_key = {{ file = "{self.directory}/key" }}\n{extra_toml}\n'
        )

    def start(self, programs, **options):
        """Starts the daemon and waits until it is ready."""
        daemon = Daemon(self, programs, **options)
        if not daemon.wait_until_ready():
            raise RuntimeError(f"the daemon exited with {daemon.exit_code()}:\n{self.log_text()}")
        return daemon

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def close(self):
        shutil.rmtree(self.directory, ignore_errors=True)


class Daemon:
    """A daemon in a `Home`. `prefix` is a command that runs it, such as `strace`."""

    running = set()

    def __init__(self, home, programs, prefix=(), env=None, stderr=None):
        self.home = home
        self.programs = programs
        notify_path = home.directory / f"notify-{os.urandom(4).hex()}"
        self.notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notifications.bind(str(notify_path))
        command = [*prefix, programs / "jobtrackd", "--config", home.directory / "config.toml"]
        environment = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(notify_path), **(env or {})}
        with open(home.log, "ab") as log:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr or log,
            )
        Daemon.running.add(self.process)

    @classmethod
    def kill_all(cls):
        """Kills what a rig that was interrupted left."""
        for process in cls.running:
            process.kill()

    def wait_until_ready(self, deadline_s=DEADLINE_S):
        """Whether the daemon reports readiness; false if it exits before.

        A daemon whose notification is lost is ready when it answers.
        """
        self.notifications.settimeout(0.05)
        for attempt in range(deadline_s * 20):
            try:
                if b"READY=1" in self.notifications.recv(4096):
                    return True
            except TimeoutError:
                if not self.is_running():
                    return False
                if attempt > 20 and self.answers():
                    return True
        self.kill()
        raise Hang("the daemon neither became ready nor exited")

    def discard_notifications(self):
        """Reads what the daemon has sent, as a service manager does all the time."""
        self.notifications.setblocking(False)
        try:
            while True:
                self.notifications.recv(4096)
        except BlockingIOError:
            pass

    def answers(self):
        try:
            return request(self.home, "GET", "/v1/status", timeout_s=1)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def is_running(self):
        return self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.release()

    def stop(self, deadline_s=DEADLINE_S):
        """Sends SIGTERM and returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.exit_code(deadline_s)

    def exit_code(self, deadline_s=DEADLINE_S):
        try:
            code = self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Hang("the daemon did not exit") from None
        self.release()
        return code

    def release(self):
        Daemon.running.discard(self.process)
        self.notifications.close()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout_s=DEADLINE_S):
        super().__init__("jobtrack", timeout=timeout_s)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def request(home, method, target, body=None, timeout_s=DEADLINE_S):
    """The status and the JSON of a response. Raises OSError or HTTPException without one."""
    connection = UnixConnection(home.socket, timeout_s)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, target, text, {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def add_jobs(home, ids, timeout_s=DEADLINE_S):
    """Adds jobs of the provider `dune`. Returns the acknowledged jobs: remote id to job id."""
    jobs = [{"provider": "dune", "remote_id": remote_id} for remote_id in ids]
    _, response = request(home, "POST", "/v1/jobs", {"jobs": jobs}, timeout_s)
    accepted = [job for job in response.get("jobs", []) if job["outcome"] != "rejected"]
    return {job["remote_id"]: job["id"] for job in accepted}


def read_transitions(home, after="0"):
    """The transitions that the daemon publishes: cursor to (job id, state)."""
    status, page = request(home, "GET", f"/v1/history?after={after}&limit=1000")
    if status != 200:
        raise http.client.HTTPException(f"{status}: {page}")
    rows = page["transitions"]
    return {int(row["cursor"]): (row["job_id"], row["to_state"]) for row in rows}
