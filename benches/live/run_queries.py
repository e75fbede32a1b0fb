"""Runs queries with Dune's own client, each in a thread of its own, as users of the client do.

usage: DUNE_API_KEY=... run_queries.py BASE_URL QUERY...

Prints one line per query whose end was detected: the query id and the time in seconds since 1970.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from dune_client.client import DuneClient
from dune_client.models import ExecutionState
from dune_client.query import QueryBase


class RecordingClient(DuneClient):
    """Records when an answer first reports a terminal state."""

    detected_at = None

    def get_execution_status(self, job_id):
        status = super().get_execution_status(job_id)
        if status.state in ExecutionState.terminal_states():
            self.detected_at = self.detected_at or time.time()
        return status


def run(base_url, query):
    client = RecordingClient(base_url=base_url)
    try:
        client.run_query(QueryBase(query))
    except Exception as error:  # The end may have been detected before the error, for example by a 429.
        print(f"{query}: {error}", file=sys.stderr)
    return query, client.detected_at


def main(base_url, *queries):
    with ThreadPoolExecutor(len(queries)) as threads:
        for query, detected_at in threads.map(lambda query: run(base_url, int(query)), queries):
            if detected_at:
                print(query, detected_at)


main(*sys.argv[1:])
