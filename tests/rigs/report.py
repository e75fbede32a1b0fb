"""The table in docs/reliability.md: one row for each rig, replaced by each run that found nothing wrong."""

from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/reliability.md"


def write_row(name, outcome):
    lines = DOCUMENT.read_text().splitlines()
    index = next(i for i, line in enumerate(lines) if line.startswith(f"| `{name}` |"))
    lines[index] = outcome.row(name)
    DOCUMENT.write_text("\n".join(lines) + "\n")
    for file, text in outcome.pictures.items():
        DOCUMENT.with_name(file).write_text(text)
