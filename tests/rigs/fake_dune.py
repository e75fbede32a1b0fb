"""A stand-in for Dune's status endpoint. Every id is a job, submitted by its first request.

A job runs for `run_s` seconds; one whose id begins with `HELD` runs until `release` is called.
"""

import json
import threading
import time
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def rfc3339(at):
    return datetime.fromtimestamp(at, timezone.utc).isoformat().replace("+00:00", "Z")


class FakeDune(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, run_s=0.3):
        super().__init__(("127.0.0.1", 0), Handler)
        self.run_s = run_s
        self.released_at = None
        self.submitted_at = {}
        self.request_times = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def release(self):
        """Ends the held jobs."""
        self.released_at = time.time()

    def status(self, remote_id):
        now = time.time()
        self.request_times.append(time.monotonic())
        submitted = self.submitted_at.setdefault(remote_id, now)
        ended = submitted + self.run_s
        if remote_id.startswith("HELD"):
            ended = max(self.released_at, submitted) if self.released_at else float("inf")
        body = {
            "execution_id": remote_id,
            "query_id": 980708,
            "submitted_at": rfc3339(submitted),
            "execution_started_at": rfc3339(submitted),
        }
        if now < ended:
            return body | {"state": "QUERY_STATE_EXECUTING", "is_execution_finished": False}
        return body | {
            "state": "QUERY_STATE_COMPLETED",
            "is_execution_finished": True,
            "execution_ended_at": rfc3339(ended),
        }

    def handle_error(self, request, client_address):
        """A client that was killed is expected here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without this, each answer waits for the delayed acknowledgement of its headers.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self):
        remote_id = self.path.removeprefix("/api/v1/execution/").removesuffix("/status")
        body = json.dumps(self.server.status(remote_id)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """The log of requests is not needed."""
