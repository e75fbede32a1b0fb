"""Runs queries in DuckDB on the tables and views of a SQLite database.

DuckDB's sqlite extension cannot be downloaded everywhere, so this program copies the base tables and creates the
views with the very SQL text that SQLite holds. Standard input: a JSON array of queries. Standard output: a JSON
array with the rows of each. Argument: the path of the database.
"""

import json
import sqlite3
import sys

import duckdb

# The types that DuckDB's sqlite extension gives to these declared types.
TYPES = {"INTEGER": "BIGINT", "REAL": "DOUBLE", "TEXT": "VARCHAR"}

source = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
target = duckdb.connect()
schema = source.execute("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite%' ORDER BY rowid")
for kind, name, sql in schema.fetchall():
    if kind == "table" and not name.startswith("_sqlx"):
        columns = source.execute(f"PRAGMA table_info({name})").fetchall()
        target.execute(f"CREATE TABLE {name} ({', '.join(f'{c[1]} {TYPES[c[2]]}' for c in columns)})")
        rows = source.execute(f"SELECT * FROM {name}").fetchall()
        if rows:
            target.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(columns))})", rows)
    elif kind == "view":
        target.execute(sql)
results = [target.execute(query).fetchall() for query in json.load(sys.stdin)]
json.dump(results, sys.stdout)
