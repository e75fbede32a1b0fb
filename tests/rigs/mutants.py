"""Changes the decisions of `job`, `policy` and `tracker` one by one, and runs their tests on each change.

Needs cargo-mutants. The three modules are pure and use nothing else of the project, so they are copied with
their tests into a package of their own, which is compiled in seconds. The tests that take long run last: most
changes are caught before.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

from outcome import Outcome, require

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "target/mutants"
MODULES = ("job", "policy", "tracker")
# Of tests/pure: what the package has, and which of the tracker's tests take long.
TESTS = ("contradicted_times", "job_transitions", "policy", "rate_limiter", "tracker")
SLOW_TESTS = {"learned_policy", "list_requests", "many_jobs"}
SHARED = {"fixtures", "simulation"}
MIN_CAUGHT_PERCENT = 95
MANIFEST = """[package]
name = "jobtrack"
version = "0.0.0"
edition = "2024"
autobenches = false

[dependencies]
{dependencies}
[dev-dependencies]
{dev_dependencies}
[profile.dev]
debug = false
opt-level = 1

[profile.dev.package."*"]
opt-level = 2
"""


def run(_programs, shards=1):
    """Tries one mutant of so many `shards`."""
    require(shutil.which("cargo-mutants"), "cargo-mutants is not installed")
    write_package()
    command = ["cargo", "mutants", "--shard", f"0/{shards}", "--sharding", "round-robin"]
    command += ["--jobs", "2", "--no-times", "--colors", "never", "--timeout", "120", "--", "--lib", "--tests"]
    done = subprocess.run(command, cwd=PACKAGE, stdout=subprocess.PIPE, text=True, check=False)
    # 0: all caught, 2: some were missed, 3: some tests took too long.
    problems = [] if done.returncode in (0, 2, 3) else [f"cargo mutants failed:\n{done.stdout[-3000:]}"]
    counts = count_outcomes()
    if counts is None:
        problems.append("cargo mutants ended before it had tried a mutant")
        counts = {}
    caught = counts.get("CaughtMutant", 0) + counts.get("Timeout", 0)
    tried = caught + counts.get("MissedMutant", 0)
    percent = 100 * caught / max(tried, 1)
    if percent < MIN_CAUGHT_PERCENT:
        problems.append(f"{percent:.1f} % of {tried} mutants were caught; see {PACKAGE}/mutants.out/missed.txt")
    part = "" if shards == 1 else f"; 1 mutant in {shards}"
    return Outcome(
        f"{tried:,} mutants of `job`, `policy` and `tracker`{part}",
        f"{caught:,} caught ({percent:.1f} %)",
        "the tests pass without a mutant",
        problems,
    )


def count_outcomes():
    """The number of mutants by what became of them; None if cargo mutants has written nothing."""
    path = PACKAGE / "mutants.out/outcomes.json"
    if not path.exists():
        return None
    counts = {}
    for outcome in json.loads(path.read_text())["outcomes"]:
        if outcome["scenario"] != "Baseline":
            counts[outcome["summary"]] = counts.get(outcome["summary"], 0) + 1
    return counts


def write_package():
    """Copies the modules, their tests and what those include."""
    shutil.rmtree(PACKAGE, ignore_errors=True)
    for module in MODULES:
        shutil.copytree(REPOSITORY / "src" / module, PACKAGE / "src" / module)
    (PACKAGE / "src/lib.rs").write_text("".join(f"pub mod {module};\n" for module in MODULES))
    shutil.copytree(REPOSITORY / "benches/polling", PACKAGE / "benches/polling")
    pure = REPOSITORY / "tests/pure"
    for name in TESTS:
        source = pure / name
        if source.is_dir():
            shutil.copytree(source, PACKAGE / "tests/fast" / name)
        else:
            copy(source.with_suffix(".rs"), PACKAGE / "tests/fast" / f"{name}.rs")
    shutil.copytree(pure / "polling", PACKAGE / "tests/slow/polling")
    shutil.copytree(pure / "tracker", PACKAGE / "tests/slow/tracker")
    keep_tests(PACKAGE / "tests/fast/tracker/mod.rs", lambda name: name not in SLOW_TESTS)
    keep_tests(PACKAGE / "tests/slow/tracker/mod.rs", lambda name: name in SLOW_TESTS | SHARED)
    allowed = "#![allow(dead_code, unused_imports, unused_macros)]\n"
    for directory, modules in (("fast", TESTS), ("slow", ("polling", "tracker"))):
        lines = allowed + "".join(f"mod {module};\n" for module in modules)
        (PACKAGE / "tests" / directory / "main.rs").write_text(lines)
    manifest = (REPOSITORY / "Cargo.toml").read_text()
    copy(REPOSITORY / "Cargo.lock", PACKAGE / "Cargo.lock")
    (PACKAGE / "Cargo.toml").write_text(
        MANIFEST.format(
            dependencies=lines_of(manifest, "humantime", "jiff", "libm", "fastrand", "serde", "serde_json", "thiserror"),
            dev_dependencies=lines_of(manifest, "proptest"),
        )
    )


def copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def keep_tests(path, is_kept):
    lines = path.read_text().splitlines()
    names = [re.match(r"mod (\w+);", line) for line in lines]
    kept = [line for line, name in zip(lines, names) if not name or is_kept(name[1])]
    path.write_text("\n".join(kept) + "\n")


def lines_of(manifest, *names):
    """The lines of a manifest that name these dependencies."""
    lines = []
    for name in names:
        found = re.search(rf"^{name} = .*$", manifest, re.MULTILINE)
        require(found, f"Cargo.toml has no line `{name} = …`; a dependency in a table of its own is not copied")
        lines.append(found[0])
    return "\n".join(lines) + "\n"
