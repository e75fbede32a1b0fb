"""Runs queries with Dune's own client, each in a thread of its own, as its users do.

usage: DUNE_API_KEY=... official.py BASE_URL QUERY...

Prints a line for each query whose end an answer told: the query, and when, in seconds since 1970.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from dune_client.client import DuneClient
from dune_client.models import ExecutionState
from dune_client.query import QueryBase


class Watched(DuneClient):
    """The client, and when it first learned that its execution is over."""

    seen = None

    def get_execution_status(self, job_id):
        status = super().get_execution_status(job_id)
        if status.state in ExecutionState.terminal_states():
            self.seen = self.seen or time.time()
        return status


def run(base_url, query):
    client = Watched(base_url=base_url)
    try:
        client.run_query(QueryBase(query))
    except Exception as error:  # Whatever ends the wait: the end was seen before, or it was not.
        print(f"{query}: {error}", file=sys.stderr)
    return query, client.seen


def main(base_url, *queries):
    with ThreadPoolExecutor(len(queries)) as threads:
        for query, seen in threads.map(lambda query: run(base_url, int(query)), queries):
            if seen:
                print(query, seen)


main(*sys.argv[1:])
