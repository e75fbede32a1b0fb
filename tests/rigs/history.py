"""Checks a database against what the daemon acknowledged and published.

The checks read as another process does. They are written independently of the daemon's own code.
"""

import sqlite3

TERMINAL = ("succeeded", "failed", "cancelled", "expired", "indeterminate", "lost", "untracked")

VIOLATIONS = f"""
    WITH h AS (SELECT *, lag(to_state) OVER job AS previous_state,
                      lag(observed_at) OVER job AS previous_observed_at,
                      row_number() OVER job AS position
               FROM transition WINDOW job AS (PARTITION BY job_id ORDER BY seq))
    SELECT 'from_state is not the previous to_state', seq FROM h WHERE from_state IS NOT previous_state
    UNION ALL SELECT 'first state is not registered', seq FROM h WHERE position = 1 AND to_state <> 'registered'
    UNION ALL SELECT 'observed_at decreases', seq FROM h WHERE observed_at < previous_observed_at
    UNION ALL SELECT 'transition after a terminal state', seq FROM h WHERE previous_state IN {TERMINAL}
    UNION ALL SELECT 'earliest_at is after observed_at', seq FROM h WHERE earliest_at > observed_at
    UNION ALL SELECT 'job.state is not its last to_state', id FROM job WHERE state <>
        (SELECT to_state FROM transition WHERE job_id = job.id ORDER BY seq DESC LIMIT 1)
    UNION ALL SELECT 'a remote id is stored twice', max(id) FROM job
        GROUP BY provider, source, remote_id HAVING count(*) > 1
"""


class Evidence:
    """What clients of the daemon have been told: acknowledged jobs and published transitions."""

    def __init__(self):
        self.jobs = {}
        self.transitions = {}

    def acknowledge(self, jobs):
        for remote_id, job_id in jobs.items():
            before = self.jobs.setdefault(remote_id, job_id)
            if before != job_id:
                raise AssertionError(f"{remote_id} was job {before} and is now job {job_id}")

    def publish(self, transitions):
        self.transitions.update(transitions)

    def count(self):
        return len(self.jobs) + len(self.transitions)


def read(database, sql):
    with_uri = f"file:{database}?mode=ro"
    connection = sqlite3.connect(with_uri, uri=True, timeout=10)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def lost(database, evidence):
    """What was acknowledged or published and is not in the database as it was told."""
    jobs = dict(read(database, "SELECT remote_id, id FROM job"))
    rows = read(database, "SELECT seq, job_id, to_state FROM transition")
    transitions = {seq: (job_id, state) for seq, job_id, state in rows}
    return [f"job {item}" for item in evidence.jobs.items() if jobs.get(item[0]) != item[1]] + [
        f"transition {seq} {told}"
        for seq, told in evidence.transitions.items()
        if transitions.get(seq) != told
    ]


def violations(database):
    """Damage of the file and illegal histories; empty if there are none."""
    integrity = [row[0] for row in read(database, "PRAGMA integrity_check")]
    found = [] if integrity == ["ok"] else integrity
    return found + [f"{what}: {where}" for what, where in read(database, VIOLATIONS)]


def unfinished(database):
    return read(database, f"SELECT count(*) FROM job WHERE state NOT IN {TERMINAL}")[0][0]
