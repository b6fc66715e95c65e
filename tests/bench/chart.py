"""The results as a plain SVG: a bar for each goal, as a share of it."""

from xml.sax.saxutils import escape

WIDTH, LEFT, LINE, TOP = 960, 420, 30, 60
FULL = 400      # the width of a bar that just meets its goal


def svg(rows, title):
    """An SVG of the rows that have a goal. The line marks the goal; shorter is better."""
    shown = [row for row in rows if row.goal is not None]
    height = TOP + LINE * len(shown) + 40
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
             'font-family="sans-serif" font-size="13">',
             f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
             f'<text x="16" y="28" font-size="16">{escape(title)}</text>']
    for number, row in enumerate(shown):
        y = TOP + LINE * number
        if row.at_least:
            share = row.goal / row.figure if row.figure else 2
        else:
            share = row.figure / row.goal if row.goal else (1 if row.figure == 0 else 2) * bool(row.figure)
        width = max(1, min(share, 1.25) * FULL)
        colour = "#3b7d4f" if row.reached else "#b3452c"
        bound = f"{'≥' if row.at_least else '≤'} {row.goal:g}"
        parts += [f'<text x="{LEFT - 10}" y="{y + 18}" text-anchor="end">{escape(row.name)}</text>',
                  f'<rect x="{LEFT}" y="{y + 4}" width="{width:.1f}" height="20" fill="{colour}"/>',
                  f'<text x="{LEFT + width + 8:.1f}" y="{y + 18}">{row.figure:.3g} {escape(row.unit)} '
                  f'<tspan fill="#777">({escape(bound)})</tspan></text>']
    parts += [f'<line x1="{LEFT + FULL}" y1="{TOP - 6}" x2="{LEFT + FULL}" y2="{height - 30}" stroke="#555" '
              'stroke-dasharray="4 3"/>',
              f'<text x="{LEFT + FULL}" y="{height - 12}" text-anchor="middle" fill="#555">goal</text>', "</svg>"]
    return "\n".join(parts) + "\n"
