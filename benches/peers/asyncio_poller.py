"""Polls jobs at a fixed rate with aiohttp and commits each change of state to SQLite.

usage: asyncio_poller.py BASE_URL POLLS_PER_SECOND UNFINISHED_JOBS DATABASE
"""

import asyncio
import sqlite3
import sys
import time

import aiohttp

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE job (id TEXT PRIMARY KEY, state TEXT NOT NULL);
CREATE TABLE transition (seq INTEGER PRIMARY KEY, job_id TEXT NOT NULL, to_state TEXT NOT NULL, observed_at REAL NOT NULL);
CREATE INDEX transition_job ON transition (job_id, seq);
"""


async def main(base_url, rate, jobs, database):
    db = sqlite3.connect(database)
    db.executescript(SCHEMA)
    states = {}
    numbers = iter(range(10**9))

    def insert(job, state):
        db.execute("INSERT INTO job VALUES (?, ?) ON CONFLICT DO UPDATE SET state = excluded.state", (job, state))
        db.execute("INSERT INTO transition (job_id, to_state, observed_at) VALUES (?, ?, ?)", (job, state, time.time()))
        states[job] = state

    def add():
        insert(f"01{next(numbers):024}", "REGISTERED")

    async def poll(job):
        async with session.get(f"{base_url}/api/v1/execution/{job}/status", headers={"x-dune-api-key": "fake-api-key"}) as response:
            state = (await response.json())["state"]
        if job in states and state != states[job]:
            with db:
                insert(job, state)
                if state == "QUERY_STATE_COMPLETED":
                    del states[job]
                    add()

    with db:
        for _ in range(jobs):
            add()
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as polls:
        due = asyncio.get_running_loop().time()
        while True:
            for job in list(states):
                polls.create_task(poll(job))
                due += 1 / rate
                await asyncio.sleep(due - asyncio.get_running_loop().time())


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
