"""The control of the rigs that look for lost rows: a writer of SQLite that does lose rows.

usage: control_writer.py DATABASE SYNCHRONOUS (before|after) RUN

It writes fifty rows in each transaction and prints the number of a row when it acknowledges it: `before` or
`after` the commit. Before the commit means while it waits for more rows to write together. A rig that finds no
loss with this writer could not find one with the daemon either.
"""

import itertools
import sqlite3
import sys
import time

ROWS_PER_COMMIT = 50
WAIT_FOR_MORE_S = 0.0002


def main(database, synchronous, acknowledge, run):
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("CREATE TABLE IF NOT EXISTS acknowledged (run INTEGER, number INTEGER)")
    for first in itertools.count(1, ROWS_PER_COMMIT):
        numbers = range(first, first + ROWS_PER_COMMIT)
        connection.execute("BEGIN IMMEDIATE")
        for number in numbers:
            connection.execute("INSERT INTO acknowledged VALUES (?, ?)", (run, number))
            if acknowledge == "before":
                print(number, flush=True)
                time.sleep(WAIT_FOR_MORE_S)
        connection.execute("COMMIT")
        if acknowledge == "after":
            print(*numbers, sep="\n", flush=True)


main(*sys.argv[1:])
