"""Runs the daemon at 1,000 polls a second for half an hour and checks that nothing grows.

Jobs of some seconds are added and end all the time, old jobs are deleted every 10 s, event streams follow, and
the configuration is reloaded every minute. Memory, write-ahead log, database, file descriptors and the lag of the
event stream may not grow from the second third of the time to the last one. The control is the same samples
with a leak.
"""

import http.client
import json
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import datetime
from pathlib import Path

import history
from daemon import Home, UnixConnection, add_jobs
from outcome import Outcome, require
from soak_plot import render_plot

REPOSITORY = Path(__file__).resolve().parents[2]
POLLS_PER_SECOND = 1000
# A machine that does other things delays some polls, and the rate limit makes up for none of them.
MIN_PART_OF_RATE = 0.8
UNFINISHED_JOBS = 2500
ADDED_TOGETHER = 500
RELOAD_INTERVAL_S = 60
STREAM_LIFE_S = 7
SETTINGS = """
requests_per_minute = {rate}
max_in_flight = 100
price = "10ms"
[maintenance]
prune_schedule = "*/10 * * * * *"
retention = {{ default = "{retention_s}s" }}
"""
# What is sampled: its name, its unit, a growth that is noise, and the growth a second in the control.
SERIES = {
    "memory": ("MiB", 3, 1),
    "write-ahead log": ("MiB", 1, 1),
    "database": ("MiB", 2, 2),
    "descriptors": ("", 4, 1),
    "lag of the events": ("ms", 50, 20),
    "CPU": ("% of a core", 5, 2),
}


def run(programs, seconds, sample_s=5):
    stand_in = StandIn()
    retention_s = max(10, seconds // 15)
    home = Home(stand_in.base_url, SETTINGS.format(rate=POLLS_PER_SECOND * 60, retention_s=retention_s))
    daemon = home.start(programs)
    streams = Streams(home)
    load = Load(home, stand_in)
    load.top_up()
    samples, started = [], time.monotonic()
    sampler = Sampler(home, daemon.process.pid, streams)
    while (elapsed := time.monotonic() - started) < seconds:
        time.sleep(1)
        daemon.discard_notifications()
        load.top_up()
        if elapsed // RELOAD_INTERVAL_S > (elapsed - 1) // RELOAD_INTERVAL_S:
            daemon.process.send_signal(signal.SIGHUP)
        if elapsed >= sample_s * (len(samples) + 1):
            samples.append(sampler.read(elapsed))
    polls = stand_in.counters()["polls"]
    streams.stop()
    code = daemon.stop()
    problems = growing(samples) + history.violations(home.database)
    problems += [f"a stream failed: {error}" for error in streams.errors]
    if code:
        problems.append(f"the daemon stopped with {code}: {home.log_text()[-600:]}")
    if polls < seconds * POLLS_PER_SECOND * MIN_PART_OF_RATE:
        problems.append(f"the daemon was too slow: {polls:,} polls in {seconds} s")
    home.close()
    stand_in.stop()
    found = growing(with_leak(samples))
    if len(found) != len(SERIES):
        problems.append(f"the control found only {found}")
    return Outcome(
        f"{seconds // 60} min, {polls:,} polls, {load.added:,} jobs, {streams.events:,} events read",
        describe(samples),
        f"a steady growth added to the samples: found in {len(found)} of {len(SERIES)} series",
        problems,
        {"soak.svg": render_plot(samples, {name: unit for name, (unit, _, _) in SERIES.items()})},
    )


def growing(samples):
    """The series that are higher in the last third than in the second, beyond their noise."""
    third = len(samples) // 3
    found = []
    for name, (unit, noise, _) in SERIES.items():
        values = [sample[name] for sample in samples]
        second, last = values[third : 2 * third], values[2 * third :]
        low, _, high = statistics.quantiles(second, n=4)
        before, after = statistics.median(second), statistics.median(last)
        if after - before > max(noise, 0.05 * before, high - low):
            found.append(f"{name} grew from {before:.1f} to {after:.1f} {unit}")
    return found


def with_leak(samples):
    """The samples as if each series grew all the time."""
    return [
        {"seconds": sample["seconds"]}
        | {name: sample[name] + leak * sample["seconds"] for name, (_, _, leak) in SERIES.items()}
        for sample in samples
    ]


def describe(samples):
    third = len(samples) // 3
    median = lambda name, part: statistics.median(sample[name] for sample in part)
    return "; ".join(
        f"{name} {median(name, samples[third:2 * third]):.1f} → {median(name, samples[2 * third:]):.1f} {unit}".strip()
        for name, (unit, _, _) in SERIES.items()
    )


class StandIn:
    """The stand-in of `benches/cost`, which is fast enough for 1,000 polls a second."""

    def __init__(self):
        build = ["cargo", "bench", "--quiet", "--locked", "--bench", "cost", "--no-run", "--message-format=json"]
        built = subprocess.run(build, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        require(built.returncode == 0, "the bench `cost` cannot be built")
        messages = [json.loads(line) for line in built.stdout.splitlines()]
        program = next(m["executable"] for m in messages if m.get("target", {}).get("name") == "cost")
        command = [program, "stand-in", "--script", "stream", f"--initial-jobs={UNFINISHED_JOBS}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.base_url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def counters(self):
        with urllib.request.urlopen(f"{self.base_url}/counters", timeout=30) as response:
            return json.load(response)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Load:
    """Adds a job for each one that has ended."""

    def __init__(self, home, stand_in):
        self.home = home
        self.stand_in = stand_in
        self.added = 0

    def top_up(self):
        wanted = UNFINISHED_JOBS + self.stand_in.counters()["ends"]
        while self.added < wanted:
            numbers = range(self.added, min(wanted, self.added + ADDED_TOGETHER))
            add_jobs(self.home, [f"01{number:024}" for number in numbers])
            self.added = numbers.stop


class Sampler:
    def __init__(self, home, pid, streams):
        self.home = home
        self.proc = Path(f"/proc/{pid}")
        self.streams = streams
        self.last_cpu = (time.monotonic(), self.cpu_s())

    def read(self, elapsed):
        mib = lambda path: Path(path).stat().st_size / 2**20
        status = (self.proc / "status").read_text()
        now, cpu_s = time.monotonic(), self.cpu_s()
        last_at, last_cpu_s = self.last_cpu
        self.last_cpu = (now, cpu_s)
        return {
            "seconds": elapsed,
            "memory": int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024,
            "write-ahead log": mib(f"{self.home.database}-wal"),
            "database": mib(self.home.database),
            "descriptors": len(list((self.proc / "fd").iterdir())),
            "lag of the events": self.streams.take_lag_ms(),
            "CPU": 100 * (cpu_s - last_cpu_s) / (now - last_at),
        }

    def cpu_s(self):
        """The CPU time of all threads."""
        fields = (self.proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


class Streams:
    """A stream of events that measures its lag, and one that is opened again and again at its last cursor."""

    def __init__(self, home):
        self.home = home
        self.lags_ms, self.events, self.errors = [], 0, []
        self.stopped = False
        self.threads = [threading.Thread(target=self.guard, args=[run]) for run in (self.measure, self.reconnect)]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopped = True
        for thread in self.threads:
            thread.join()

    def take_lag_ms(self):
        """The 95th percentile of the time from the answer of a provider to the event, since the last call."""
        lags, self.lags_ms = sorted(self.lags_ms), []
        return lags[len(lags) * 95 // 100] if lags else 0.0

    def guard(self, run):
        try:
            run()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.errors.append(repr(error))

    def measure(self):
        for line in self.lines(None, float("inf")):
            if line.startswith(b"data:") and b'"to_state":"registered"' not in line:
                self.events += 1
                observed_at = datetime.fromisoformat(json.loads(line[5:])["observed_at"])
                self.lags_ms.append(1000 * (time.time() - observed_at.timestamp()))

    def reconnect(self):
        cursor = "0"
        while not self.stopped:
            for line in self.lines(cursor, time.monotonic() + STREAM_LIFE_S):
                if line.startswith(b"id:"):
                    cursor = line[3:].strip().decode()

    def lines(self, after, end):
        connection = UnixConnection(self.home.socket)
        target = "/v1/events" + (f"?after={after}" if after else "")
        connection.request("GET", target)
        response = connection.getresponse()
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        while not self.stopped and time.monotonic() < end:
            yield response.readline()
        connection.close()
