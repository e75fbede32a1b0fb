"""Runs the real programs against a fake service and draws what the commands print on a terminal.

    just screens

builds them and writes COMMAND-WIDTH.svg beside this file, for terminals that are 80 and 160 columns wide. The argument
is the directory of the programs.
"""

import fcntl
import html
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests/rigs"))
from daemon import Home  # noqa: E402
from fake_dune import FakeDune  # noqa: E402

WIDTHS = (80, 160)
POLLING = 'requests_per_minute = 300\nprice = "500ms"\n'
PAST_RUNS = [f"01JQ5B2F8RKWPXG9ZT6H3VD4P{digit}" for digit in range(8)]
ENDING, FAILING = "01GBM4W2N0NMCGPZYW8AYK4YF1", "01JQ5B2F8RKWPXG9ZT6H3VD4NA"
RUNNING = ["01JQ8T5WEZ0M6C1A9XK2RS7HGB", "01JQ8T5XK4V3NDB6QYF8PWJ2TC"]

COMMANDS = {
    "show": ["show", "9"],
    "wait": ["wait", "--label", "batch=7"],
    "list": ["list", "--all"],
    "list-wide": ["list", "--ended-since", "today", "--sort=-ran", "-o", "wide"],
    "history": ["history", "--limit", "8"],
    "status": ["status"],
}

COLOURS = {"31": "#f85149", "32": "#3fb950", "33": "#d29922"}


class Service(FakeDune):
    """Jobs that take a few seconds, one that fails, and two that run on."""

    def status(self, remote_id):
        self.run_s = {ENDING: 6.0, FAILING: 4.0}.get(remote_id, 5.0)
        if remote_id in RUNNING:
            self.run_s = float("inf")
        answer = super().status(remote_id)
        if remote_id == FAILING and answer["is_execution_finished"]:
            answer["state"] = "QUERY_STATE_FAILED"
            answer["error"] = {"message": "table growth.daily_users was not found"}
        return answer


class Screens:
    def __init__(self, programs, home):
        self.programs, self.home = programs, home

    def run(self, arguments, columns=80):
        """What a command prints on a terminal: notices first, then its output."""
        terminal, screen = pty.openpty()
        fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 200, columns, 0, 0))
        environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color"}
        command = [self.programs / "jobtrack", "--socket", self.home.socket, *arguments]
        process = subprocess.Popen(command, env=environment, stdout=screen, stderr=subprocess.PIPE)
        os.close(screen)
        printed = b""
        try:
            while part := os.read(terminal, 65536):
                printed += part
        except OSError:
            pass  # the end of a terminal
        os.close(terminal)
        notices = process.stderr.read()
        process.wait(30)
        return (notices + printed).decode().replace("\r", "")


def spans(line):
    """The parts of a line with their SGR codes."""
    codes = set()
    for piece in re.split(r"(\x1b\[[0-9;]*m)", line):
        if not piece.startswith("\x1b"):
            yield piece, set(codes)
        elif piece in ("\x1b[m", "\x1b[0m"):
            codes.clear()
        else:
            codes.update(piece[2:-1].split(";"))


def svg(title, command, printed, columns):
    lines = printed.rstrip("\n").split("\n")
    width, height = 40 + round(columns * 7.83), 84 + 18 * len(lines)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}">',
        f'<rect width="{width}" height="{height}" rx="10" fill="#0d1117"/>',
        '<circle cx="26" cy="24" r="6" fill="#ff5f57"/><circle cx="46" cy="24" r="6" fill="#febc2e"/>'
        '<circle cx="66" cy="24" r="6" fill="#28c840"/>',
        '<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" '
        'font-size="13" xml:space="preserve" fill="#c9d1d9">',
        f'<text x="20" y="58"><tspan fill="#3fb950">$ </tspan>'
        f'<tspan fill="#e6edf3">{html.escape(command)}</tspan></text>',
    ]
    for number, line in enumerate(lines):
        out.append(f'<text x="20" y="{76 + 18 * number}">')
        for text, codes in spans(line):
            colour = next((COLOURS[code] for code in codes if code in COLOURS), None)
            fill = f' fill="{colour}"' if colour else ""
            weight = ' font-weight="bold"' if "1" in codes else ""
            out[-1] += f"<tspan{fill}{weight}>{html.escape(text)}</tspan>"
        out[-1] += "</text>"
    return "\n".join([*out, "</g>", "</svg>"]) + "\n"


def main():
    programs = Path(sys.argv[1]).resolve()
    home = Home(Service().base_url, POLLING)
    daemon = home.start(programs)
    screens = Screens(programs, home)
    try:
        screens.run(["add", "dune", *PAST_RUNS, "--label", "batch=6"])
        screens.run(["wait", "--label", "batch=6"])
        labels = ["--label", "batch=7", "--label", "team=growth"]
        screens.run(["add", "dune", ENDING, FAILING, *labels])
        screens.run(["add", "dune", *RUNNING, "--label", "team=data"])
        time.sleep(2)
        for name, arguments in COMMANDS.items():
            command = " ".join(["jobtrack", *arguments])
            # Side by side: the second of two waits would find nothing to wait for.
            with ThreadPoolExecutor() as terminals:
                printed = list(terminals.map(lambda columns: screens.run(arguments, columns), WIDTHS))
            for columns, text in zip(WIDTHS, printed):
                text = text.replace(str(home.state), "/var/lib/jobtrack")
                picture = svg(f"{command}, {columns} columns", command, text, columns)
                (HERE / f"{name}-{columns}.svg").write_text(picture)
    finally:
        daemon.stop()
        home.close()


main()
