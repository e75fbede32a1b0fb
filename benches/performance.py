"""Runs the benchmarks of `docs/performance.md` and puts what they print into its sections.

usage: python3 benches/performance.py [--quick] [--write] [BENCH...]

A bench prints Markdown tables, or plain text, which becomes a block. Its section is between the lines
`<!-- NAME -->` and `<!-- /NAME -->`. Without `--write` the page is not changed.
"""

import argparse
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs/performance.md"
# The arguments of each bench, and its arguments with `--quick`.
BENCHES = {
    "cost": ([], ["--quick"]),
    "instructions": ([], []),
    "memory": ([], ["100000"]),
    "scale": (["--rounds", "3"], ["--rounds", "1", "--sizes", "1000,10000", "--idle-seconds", "5", "--no-sql"]),
}
PICTURE = ["--picture", str(REPOSITORY / "docs/performance.svg")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("benches", nargs="*", metavar="BENCH", help=", ".join(BENCHES))
    parser.add_argument("--quick", action="store_true", help="some minutes, to see that everything works")
    parser.add_argument("--write", action="store_true", help="update docs/performance.md and its picture")
    arguments = parser.parse_args()
    for name in arguments.benches or BENCHES:
        normal, quick = BENCHES[name]
        options = quick if arguments.quick else normal
        if name == "cost" and arguments.write:
            options = options + PICTURE
        text = run(name, options)
        print(text, flush=True)
        if arguments.write:
            replace_section(name, text)


def run(name, options):
    command = ["cargo", "bench", "--quiet", "--locked", "--bench", name, "--", *options]
    return subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True).stdout


def replace_section(name, text):
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, _, rest = PAGE.read_text().partition(begin)
    _, _, after = rest.partition(end)
    if not after:
        raise SystemExit(f"{PAGE} has no section {name}")
    text = text.strip()
    block = text if text.startswith("|") else f"```text\n{text}\n```"
    PAGE.write_text(f"{before}{begin}{block}\n{end}{after}")


main()
