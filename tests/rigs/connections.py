"""Opens 10,000 connections to the control socket that send bodies slowly or never read the answers.

Another user must still get `list` answered within 100 ms at the 99th percentile, and the daemon's memory may
grow by 64 MiB. The control is a server without limits, under a smaller attack.
Run as root, the connections belong to the user `nobody`; otherwise they belong to the same user as `list`.
"""

import errno
import os
import resource
import select
import socket
import socketserver
import subprocess
import sys
import tempfile
import time
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

from daemon import Home, add_jobs, request
from fake_dune import FakeDune
from outcome import Outcome

NOBODY = 65534
BODY_BYTES = 3_900_000
MAX_P99_MS = 100
MAX_MEMORY_MIB = 64
RETRY_S = 0.005
CONNECTS_PER_ROUND = 50
SLOW_BODY = b"POST /v1/jobs HTTP/1.1\r\nhost: jobtrack\r\ncontent-length: %d\r\n\r\n" % BODY_BYTES
UNREAD_ANSWERS = b"GET /v1/jobs?limit=1000 HTTP/1.1\r\nhost: jobtrack\r\n\r\n" * 20


def run(programs, seconds, sockets=10_000, max_p99_ms=MAX_P99_MS):
    dune = FakeDune(run_s=3600)
    home = Home(dune.base_url, 'requests_per_minute = 60', control_toml='mode = "0666"')
    home.directory.chmod(0o755)
    daemon = home.start(programs)
    home.socket.parent.chmod(0o755)
    for first in range(0, 2000, 500):
        add_jobs(home, [f"01JOB{n:06}{'X' * 100}" for n in range(first, first + 500)])
    measured = measure(home, daemon.process.pid, sockets, seconds)
    code = daemon.stop()
    problems = limits_exceeded(measured, max_p99_ms)
    if code:
        problems.append(f"the daemon stopped with {code}")
    home.close()
    unlimited = control(min(sockets, 200), min(seconds, 5))
    if not limits_exceeded(unlimited, max_p99_ms):
        problems.append("the control kept the limits")
    return Outcome(
        f"{sockets:,} sockets, {measured['open_at_once']:,} open at once",
        describe(measured),
        f"server without limits, {unlimited['sockets']} sockets: {describe(unlimited)}",
        problems,
    )


def describe(measured):
    return f"`list` p99 {measured['list_p99_ms']} ms, memory +{measured['memory_mib']} MiB"


def limits_exceeded(measured, max_p99_ms):
    found = []
    if measured["list_p99_ms"] > max_p99_ms:
        found.append(f"list took {measured['list_p99_ms']} ms at the 99th percentile")
    if measured["memory_mib"] > MAX_MEMORY_MIB:
        found.append(f"memory grew by {measured['memory_mib']} MiB")
    return found


def measure(home, pid, sockets, seconds):
    """Latency of `list` and memory while a process of another user holds its connections."""
    idle_kib = memory_kib(pid, "VmRSS")
    command = [sys.executable, "-B", __file__, home.socket, str(sockets), str(seconds)]
    attacker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    latencies, refused, peak_kib = [], 0, idle_kib
    while attacker.poll() is None:
        latency, retries = time_list(home)
        latencies.append(latency)
        refused += retries
        peak_kib = max(peak_kib, memory_kib(pid, "VmRSS"))
        time.sleep(0.01)
    latencies.sort()
    opened, open_at_once = map(int, attacker.communicate()[0].split())
    return {
        "sockets": sockets,
        "opened": opened,
        "open_at_once": open_at_once,
        "lists": len(latencies),
        "refused": refused,
        "list_p99_ms": round(latencies[len(latencies) * 99 // 100] * 1000, 1),
        "list_max_ms": round(latencies[-1] * 1000, 1),
        "memory_mib": round((peak_kib - idle_kib) / 1024, 1),
    }


def time_list(home):
    """The time until `list` is answered, and how many attempts found the daemon busy."""
    started, refused = time.monotonic(), 0
    while True:
        try:
            if request(home, "GET", "/v1/jobs?limit=10")[0] == 200:
                return time.monotonic() - started, refused
        except (OSError, HTTPException):
            pass
        refused += 1
        time.sleep(RETRY_S)


def memory_kib(pid, field):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    return 0


def attack(path, count, seconds):
    """Opens `count` connections and replaces those that are closed, for some seconds.

    Prints how many connections were opened in total, and how many were open at once.
    """
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + 100, most_files), most_files))
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    poller, connections = select.epoll(), {}
    opened = most = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(CONNECTS_PER_ROUND):
            connection = connect(path) if len(connections) < count else None
            if not connection:
                break
            content = SLOW_BODY + b"x" * BODY_BYTES if opened % 2 else UNREAD_ANSWERS
            # The last byte of a body is never sent.
            connections[connection.fileno()] = [connection, memoryview(content)[:-1]]
            poller.register(connection, select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET)
            opened += 1
        most = max(most, len(connections))
        for descriptor, events in poller.poll(0.01):
            if events & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP):
                connections.pop(descriptor)[0].close()
            else:
                send_available(connections[descriptor])
    print(opened, most)


def connect(path):
    """A new connection, or nothing while the queue of the socket is full."""
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)
    error = connection.connect_ex(path)
    if not error:
        return connection
    connection.close()
    if error not in (errno.EAGAIN, errno.ECONNREFUSED):
        raise OSError(error, os.strerror(error))
    return None


def send_available(entry):
    """Sends until the connection takes no more; epoll reports when it does again."""
    connection, rest = entry
    try:
        while rest:
            rest = rest[connection.send(rest[:65536]) :]
    except OSError:
        pass
    entry[1] = rest


def control(sockets, seconds):
    """The same attack on a server that reads each body whole and has no limits."""
    with tempfile.TemporaryDirectory(prefix="jobtrack-rig-") as directory:
        home = SimpleNamespace(socket=Path(directory) / "control.sock")
        Path(directory).chmod(0o755)
        command = [sys.executable, "-B", __file__, "serve", home.socket]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            while not home.socket.exists():
                time.sleep(0.01)
            home.socket.chmod(0o666)
            measured = measure(home, server.pid, sockets, seconds)
        finally:
            server.kill()
            server.wait()
    return measured


class UnlimitedHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(b"{}")

    def do_POST(self):
        body = b""
        while len(body) < int(self.headers["content-length"]):
            body += self.rfile.read1(65536)
        self.answer(b"{}")

    def answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """The log of requests is not needed."""


class UnlimitedServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    # As long as that of the daemon.
    request_queue_size = 256

    def get_request(self):
        connection, _ = super().get_request()
        return connection, ("local", 0)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        UnlimitedServer(sys.argv[2], UnlimitedHandler).serve_forever()
    else:
        attack(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
