"""A session in a terminal, from standard input, as an SVG: lines that begin with "$ " were typed, "# " are remarks."""

import sys
from xml.sax.saxutils import escape

CHARACTER, LINE, EDGE, BAR = 7.83, 18, 16, 30
COLORS = {"$": "#f0f3f6", "#": "#8b98a5"}
OUTPUT = "#b8e0c2"


def draw(lines):
    """The picture's text."""
    columns = max(len(line) for line in lines)
    width, height = round(columns * CHARACTER) + 2 * EDGE, BAR + len(lines) * LINE + EDGE
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
    yield "<title>A session with tokenfs</title>"
    yield f'<rect width="{width}" height="{height}" rx="8" fill="#16202a"/>'
    for number, color in enumerate(("#ff5f57", "#febc2e", "#28c840")):
        yield f'<circle cx="{EDGE + 4 + 18 * number}" cy="{BAR // 2}" r="5" fill="{color}"/>'
    yield '<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,\'DejaVu Sans Mono\',monospace" font-size="13">'
    for number, line in enumerate(lines):
        color, weight = COLORS.get(line[:1], OUTPUT), ' font-weight="bold"' if line.startswith("$") else ""
        if line:
            yield (f'<text x="{EDGE}" y="{BAR + (number + 1) * LINE - 5}" fill="{color}"{weight} xml:space="preserve" '
                   f'textLength="{len(line) * CHARACTER:.0f}">{escape(line)}</text>')
    yield "</g>"
    yield "</svg>"


if __name__ == "__main__":
    print("\n".join(draw([line.expandtabs() for line in sys.stdin.read().strip("\n").split("\n")])))
