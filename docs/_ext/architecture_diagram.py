"""The directive `architecture-diagram`: the folders of the package and their imports, as SVG and as a table.

Both are made from the sources when the site is built: the floors from `FLOORS` in `tests/test_architecture.py`, the
arrows from the import statements. An arrow that follows from two others is left out of the drawing.
"""

import ast
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lenet_pl"
MAP = ROOT / "tests" / "test_architecture.py"
WIDTH, HEIGHT, GAP, ROW = 150, 44, 18, 92  # px of a box, between boxes of a row, and from row to row


@dataclass
class Folder:
    """One floor of the package.

    Attributes:
        name: The folder or module below `lenet_pl`.
        purpose: Its comment in `FLOORS`.
        imports: The floors that it imports.
        lines: Its number of lines of Python.
    """

    name: str
    purpose: str
    imports: set[str]
    lines: int

    @property
    def is_command(self) -> bool:
        """Whether it is a command, that is, has a `__main__` module."""
        return (PACKAGE / self.name / "__main__.py").exists()


def read_floors() -> dict[str, Folder]:
    """Read the floors in their order, the lowest first."""
    block = re.search(r"^FLOORS = \((.*?)^\)", MAP.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert block, f"{MAP} has no FLOORS"
    found = re.findall(r'^\s*"(\w+)",(?:\s*#\s*(.*))?$', block[1], re.MULTILINE)
    floors = {name: Folder(name, purpose, set(), 0) for name, purpose in found}
    for folder in floors.values():
        files = [PACKAGE / f"{folder.name}.py"] if (PACKAGE / f"{folder.name}.py").exists() else []
        files += sorted((PACKAGE / folder.name).rglob("*.py"))
        for file in files:
            text = file.read_text(encoding="utf-8")
            folder.lines += len(text.splitlines())
            folder.imports |= {name for name in _imported(text) if name in floors and name != folder.name}
        if folder.is_command:
            folder.purpose = "command"
    return floors


def _imported(text: str) -> set[str]:
    """List the floors that a module names in its import statements."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            full = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            full = [alias.name for alias in node.names]
        else:
            continue
        names |= {name.split(".")[1] for name in full if name.startswith("lenet_pl.")}
    return names


def levels(floors: dict[str, Folder]) -> dict[str, int]:
    """Place each folder one level above the highest that it imports, and commands above all libraries."""
    found: dict[str, int] = {}
    for name, folder in floors.items():  # imports only go down: those of a folder come before it
        found[name] = 1 + max((found[other] for other in folder.imports), default=-1)
        if folder.is_command:
            libraries = [found[other] for other in found if not floors[other].is_command and other != "__main__"]
            found[name] = max(found[name], 1 + max(libraries))
    return found


def direct_imports(floors: dict[str, Folder]) -> list[tuple[str, str]]:
    """List the imports (from, to) that do not follow from others."""
    below: dict[str, set[str]] = {}
    for name, folder in floors.items():
        below[name] = folder.imports | {deep for other in folder.imports for deep in below[other]}
    return [
        (name, other)
        for name, folder in floors.items()
        for other in folder.imports
        if not any(other in below[between] for between in folder.imports if between != other)
    ]


def draw() -> str:
    """Draw the folders, what is imported below what imports it, as an SVG that takes its colors from the page."""
    floors = {name: folder for name, folder in read_floors().items() if not name.startswith("__")}
    height = levels(floors)
    rows = [[name for name in floors if height[name] == level] for level in range(max(height.values()) + 1)]
    arrows = [
        (source, target)
        for source, target in direct_imports(floors)
        if target != "cli" or len(floors[source].imports & {"photo", "inference", "artifacts", "train"}) == 0
    ]
    _order(rows, arrows)
    width = max(len(row) for row in rows) * (WIDTH + GAP) + GAP
    total = len(rows) * ROW
    place = {}
    for level, row in enumerate(rows):
        start = (width - len(row) * (WIDTH + GAP) + GAP) / 2
        for column, name in enumerate(row):
            place[name] = (start + column * (WIDTH + GAP), total - (level + 1) * ROW + (ROW - HEIGHT) / 2)
    parts = [
        f'<svg viewBox="0 0 {width} {total}" role="img" aria-labelledby="architecture-title">',
        '<title id="architecture-title">Folders of lenet_pl; an arrow points to what is imported</title>',
        '<defs><marker id="arrowhead" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path class="head" d="M0,0 L8,4 L0,8 z"/></marker></defs>',
    ]
    for source, target in sorted(arrows):
        (x1, y1), (x2, y2) = place[source], place[target]
        start, end = (x1 + WIDTH / 2, y1 + HEIGHT), (x2 + WIDTH / 2, y2 - 2)
        bend = max(24.0, (end[1] - start[1]) / 2)
        curve = (
            f"M{start[0]:.0f},{start[1]:.0f} C{start[0]:.0f},{start[1] + bend:.0f} "
            f"{end[0]:.0f},{end[1] - bend:.0f} {end[0]:.0f},{end[1]:.0f}"
        )
        parts.append(f'<path class="arrow" d="{curve}" marker-end="url(#arrowhead)"/>')
    for name, (x, y) in place.items():
        folder = floors[name]
        kind = "command" if folder.is_command else "library"
        parts.append(
            f'<g class="{kind}"><title>{escape(f"{name}: {folder.purpose}")}</title>'
            f'<rect class="room" x="{x:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
            f'<text class="name" x="{x + WIDTH / 2:.0f}" y="{y + 19:.0f}" text-anchor="middle">{name}</text>'
            f'<text class="what" x="{x + WIDTH / 2:.0f}" y="{y + 35:.0f}" text-anchor="middle">'
            f"{'command, ' if folder.is_command else ''}{folder.lines:,} lines</text></g>"
        )
    return "\n".join([*parts, "</svg>"])


def _order(rows: list[list[str]], arrows: list[tuple[str, str]]) -> None:
    """Sort each row by the mean place of what it imports, so that fewer arrows cross."""
    for level in range(1, len(rows)):
        place = {name: (column + 0.5) / len(row) for row in rows[:level] for column, name in enumerate(row)}

        def middle(name: str, place: dict[str, float] = place) -> float:
            there = [place[target] for source, target in arrows if source == name]
            return sum(there) / len(there) if there else 0.5

        rows[level].sort(key=middle)


class ArchitectureDiagram(Directive):
    """Insert the drawing."""

    def run(self) -> list[nodes.Node]:
        html = f'<div class="architecture">\n{draw()}\n</div>'
        return [nodes.raw("", html, format="html")]


class ArchitectureTable(Directive):
    """Insert a table of all floors, the highest first, with all that each imports."""

    def run(self) -> list[nodes.Node]:
        floors = read_floors()
        rows = [
            (f"lenet_pl.{name}", folder.purpose, ", ".join(n for n in floors if n in folder.imports), folder.lines)
            for name, folder in reversed(floors.items())
        ]
        group = nodes.tgroup("", *[nodes.colspec(colwidth=width) for width in (22, 38, 32, 8)], cols=4)
        group += nodes.thead("", _row("folder", "purpose", "imports", "lines"))
        group += nodes.tbody("", *[_row(nodes.literal("", name), *rest) for name, *rest in rows])
        return [nodes.table("", group)]


def _row(*cells: Any) -> nodes.row:
    row = nodes.row()
    for cell in cells:
        content = cell if isinstance(cell, nodes.Node) else nodes.Text(f"{cell:,}" if isinstance(cell, int) else cell)
        row += nodes.entry("", nodes.paragraph("", "", content))
    return row


def setup(app: Any) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("architecture-diagram", ArchitectureDiagram)
    app.add_directive("architecture-table", ArchitectureTable)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
