"""Draws the samples of the soak over time: one panel for each series."""

PANEL_WIDTH, PANEL_HEIGHT, COLUMNS = 480, 200, 2
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 34, 34


def render_plot(samples, units):
    """An SVG; `units` has the names of the series in the samples."""
    rows = -(-len(units) // COLUMNS)
    width, height = COLUMNS * PANEL_WIDTH, rows * PANEL_HEIGHT
    panels = [
        f'<g transform="translate({index % COLUMNS * PANEL_WIDTH} {index // COLUMNS * PANEL_HEIGHT})">'
        + panel(name, unit, [(sample["seconds"] / 60, sample[name]) for sample in samples])
        + "</g>"
        for index, (name, unit) in enumerate(units.items())
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        ' font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#333">\n'
        "<title>jobtrackd over time, at 1,000 polls a second</title>\n"
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n' + "\n".join(panels) + "\n</svg>\n"
    )


def panel(name, unit, points):
    """The axis begins at zero, so that a small growth does not look large."""
    end, top = points[-1][0], 1.15 * max(value for _, value in points) or 1
    right, bottom = PANEL_WIDTH - RIGHT, PANEL_HEIGHT - BOTTOM
    x = lambda minutes: LEFT + (right - LEFT) * minutes / end
    y = lambda value: bottom - (bottom - TOP) * value / top
    line = " ".join(f"{x(minutes):.1f},{y(value):.1f}" for minutes, value in points)
    parts = [f'<text x="{LEFT}" y="{TOP - 12}" font-weight="bold">{name}{f", {unit}" if unit else ""}</text>']
    for value in (0, top / 2, top):
        parts.append(f'<path d="M{LEFT} {y(value):.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{label(value)}</text>')
    for minutes, anchor in ((0, "start"), (end / 2, "middle"), (end, "end")):
        parts.append(f'<text x="{x(minutes):.1f}" y="{bottom + 18}" text-anchor="{anchor}">{minutes:.2g} min</text>')
    parts.append(f'<polyline points="{line}" fill="none" stroke="#1f77b4" stroke-width="1.5"/>')
    return "".join(parts)


def label(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
