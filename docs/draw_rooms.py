"""Draw docs/rooms.svg: the folders of the code, their imports, and one clip's way through them.

``python docs/draw_rooms.py`` writes the picture. A test fails where the picture is not what this
draws, or where an import is not in `ARROWS`.
"""

from __future__ import annotations

import ast
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("featstore", "models", "pipeline")
STORE = "featstore featstore.format featstore.reading featstore.writing featstore.exchange"
# Every folder and the folders whose modules it may import, beside its own.
ARROWS = {
    "featstore": "",
    "featstore.format": "featstore",
    "featstore.reading": "featstore featstore.format",
    "featstore.writing": "featstore featstore.format",
    "featstore.exchange": "featstore featstore.format featstore.reading featstore.writing",
    "featstore.manage": "featstore featstore.format featstore.reading featstore.writing",
    "models.heads": "",
    "models": "models.heads",
    "pipeline": "featstore featstore.format featstore.writing",
    "pipeline.metrics": "pipeline",
    "pipeline.system": "pipeline featstore",
    "pipeline.sources": "featstore",
    "pipeline.video": "pipeline pipeline.sources pipeline.system featstore featstore.format "
    "featstore.writing",
    "pipeline.runs": "pipeline pipeline.metrics featstore featstore.format featstore.reading "
    "featstore.writing",
    "pipeline.report": "pipeline.metrics pipeline.runs featstore featstore.format",
    "pipeline.build.plan": "pipeline pipeline.sources pipeline.video pipeline.system "
    "pipeline.runs models featstore featstore.format featstore.reading featstore.writing "
    "featstore.manage",
    "pipeline.build.extract": "pipeline pipeline.build.plan pipeline.video pipeline.system models "
    "featstore",
    "pipeline.build": "pipeline pipeline.build.plan pipeline.build.extract pipeline.sources "
    f"pipeline.video pipeline.system models {STORE} featstore.manage",
    "pipeline.train.recipes": "pipeline models.heads featstore",
    "pipeline.train.data": "pipeline pipeline.train.recipes pipeline.system featstore "
    "featstore.format featstore.reading featstore.manage",
    "pipeline.train": "pipeline pipeline.train.data pipeline.train.recipes pipeline.metrics "
    "pipeline.runs pipeline.report pipeline.system models models.heads featstore "
    "featstore.format featstore.reading featstore.manage",
    "pipeline.ingest": "pipeline pipeline.sources pipeline.system featstore featstore.format "
    "featstore.writing featstore.exchange featstore.manage",
    "pipeline.demo": "pipeline.sources pipeline.system models featstore featstore.format",
    "pipeline.finetune": "pipeline pipeline.build pipeline.build.plan pipeline.build.extract "
    "pipeline.train pipeline.metrics pipeline.runs pipeline.video pipeline.system models "
    "featstore featstore.format",
    "pipeline.predict": "pipeline pipeline.build.plan pipeline.build.extract pipeline.train "
    "pipeline.train.data pipeline.train.recipes pipeline.metrics pipeline.runs pipeline.report "
    "pipeline.sources pipeline.video pipeline.system models.heads featstore featstore.format "
    "featstore.reading featstore.manage",
    "pipeline.deploy": "pipeline pipeline.build.plan pipeline.build.extract pipeline.predict "
    "pipeline.train.data pipeline.metrics pipeline.report pipeline.runs pipeline.video models "
    "models.heads featstore featstore.reading",
    "pipeline.browse": "pipeline pipeline.metrics pipeline.runs pipeline.video featstore "
    "featstore.format featstore.manage featstore.reading",
    "pipeline.sweep": "pipeline pipeline.train pipeline.train.data pipeline.train.recipes "
    "pipeline.metrics pipeline.runs pipeline.report pipeline.system featstore featstore.format",
}
# The commands, and what `import featstore` offers, use everything.
FACES = ("featstore", "featstore.stages", "pipeline.api", "pipeline.cli")

# Where each room is drawn: column and row, from the top left.
PLACES = {
    "pipeline.cli": (1.0, 0),
    "pipeline.finetune": (0, 1),
    "pipeline.ingest": (1, 1),
    "pipeline.demo": (2, 1),
    "pipeline.sweep": (3, 1),
    "pipeline.predict": (2, 2),
    "pipeline.deploy": (2.5, 0),
    "pipeline.browse": (0, 0),
    "pipeline.build": (0, 2),
    "pipeline.train": (3, 2),
    "pipeline.build.extract": (0, 3),
    "pipeline.train.data": (3, 3),
    "pipeline.report": (2, 3),
    "pipeline.build.plan": (0, 4),
    "pipeline.train.recipes": (3, 4),
    "pipeline.runs": (2, 4),
    "pipeline.video": (0, 5),
    "pipeline.metrics": (2, 5),
    "models": (3, 5),
    "pipeline.sources": (0, 6),
    "pipeline.system": (1, 5),
    "models.heads": (3, 6),
    "featstore.manage": (1, 2),
    "featstore.exchange": (1, 3),
    "featstore.writing": (1, 4),
    "featstore.reading": (2, 6),
    "featstore.format": (1, 6),
    "featstore": (1.5, 7),
}
WORDS = {
    "pipeline.cli": "one file a command",
    "pipeline.finetune": "trains a backbone's last blocks",
    "pipeline.ingest": "features that others extracted",
    "pipeline.demo": "a drawn data set",
    "pipeline.sweep": "searches a recipe's fields",
    "pipeline.predict": "new recordings, by a run",
    "pipeline.deploy": "ONNX and torch.export",
    "pipeline.browse": "a local page over stores",
    "pipeline.build": "STAGE ONE: build.py",
    "pipeline.train": "STAGE TWO: train.py",
    "pipeline.build.extract": "decode, normalise, backbone",
    "pipeline.train.data": "batches of features",
    "pipeline.report": "figures and words",
    "pipeline.build.plan": "clips, steps, keys; no torch",
    "pipeline.train.recipes": "named settings",
    "pipeline.runs": "run folders, comparisons",
    "pipeline.video": "index and decode",
    "pipeline.metrics": "scores and intervals",
    "models": "backbones and losses",
    "pipeline.sources": "annotations to clips",
    "pipeline.system": "threads, devices, Dask",
    "models.heads": "temporal classifiers",
    "featstore.manage": "list, verify, remove",
    "featstore.exchange": "import and export",
    "featstore.writing": "units, locks, seal",
    "featstore.reading": "open, stream, fuse",
    "featstore.format": "Zarr, HDF5, checksums",
    "featstore": "keys and errors",
}
# One clip's way: read, planned, decoded, made features, written; streamed, trained on, reported.
WAY = (
    *("pipeline.sources", "pipeline.build.plan", "pipeline.video", "pipeline.build.extract"),
    *("featstore.writing", "featstore.reading", "pipeline.train.data", "pipeline.train"),
    *("pipeline.runs", "pipeline.report"),
)
BOX, STEP, MARGIN = (196, 52), (236, 92), 24


def module_paths() -> dict[str, Path]:
    """Return every module of the three packages by its dotted name."""
    paths = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            paths[name.removesuffix(".__init__")] = path
    return paths


def imports() -> dict[str, set[str]]:
    """Return the project's modules that each module imports, wherever the import stands.

    Imports for annotations alone, under ``TYPE_CHECKING``, do not count.
    """
    paths = module_paths()
    return {name: _imports_of(path, set(paths)) - {name} for name, path in paths.items()}


def _imports_of(path: Path, modules: set[str]) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner_name = f"{node.module}.{alias.name}"
                names.add(inner_name if inner_name in modules else node.module)
    return names & modules


def room_of(module: str) -> str:
    """Return the folder that a module lies in, as `ARROWS` names it; of commands, a face."""
    rooms = [room for room in (*ARROWS, *FACES) if module == room or module.startswith(f"{room}.")]
    return max(rooms, key=len)


def room_arrows() -> dict[str, set[str]]:
    """Return the rooms that each room imports."""
    arrows: dict[str, set[str]] = {}
    for module, imported in imports().items():
        room = module if module in FACES else room_of(module)
        if room in FACES:
            continue
        arrows.setdefault(room, set()).update({room_of(name) for name in imported} - {room})
    return arrows


def _reduced(arrows: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Return the arrows that no chain of others implies."""

    def reach(room: str) -> set[str]:
        below = arrows.get(room, set()) & PLACES.keys()
        return below.union(*(reach(one) for one in below))

    shown = {room: targets & PLACES.keys() for room, targets in arrows.items() if room in PLACES}
    return {
        (room, target)
        for room, targets in shown.items()
        for target in targets
        if not any(target in reach(other) for other in targets - {target})
    }


def _centre(room: str) -> tuple[float, float]:
    column, row = PLACES[room]
    return MARGIN + column * STEP[0] + BOX[0] / 2, MARGIN + row * STEP[1] + BOX[1] / 2


def _edge(room: str, other: str) -> tuple[float, float]:
    """Return where a line from the middle of one box to that of another leaves the first."""
    (x, y), (to_x, to_y) = _centre(room), _centre(other)
    dx, dy = to_x - x, to_y - y
    share = min(BOX[0] / 2 / abs(dx) if dx else 9e9, BOX[1] / 2 / abs(dy) if dy else 9e9)
    return x + dx * share, y + dy * share


def draw() -> str:
    """Return the picture."""
    width = MARGIN * 2 + STEP[0] * 3 + BOX[0]
    height = MARGIN * 2 + STEP[1] * 7 + BOX[1]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" role="img" '
        'aria-label="The folders of the code, their imports, and the way of one clip">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
        'markerHeight="6" orient="auto"><path d="M0 0L8 4L0 8z" fill="#8a94a3"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for room, target in sorted(_reduced(room_arrows())):
        (x, y), (to_x, to_y) = _edge(room, target), _edge(target, room)
        lines.append(
            f'<line x1="{x:.0f}" y1="{y:.0f}" x2="{to_x:.0f}" y2="{to_y:.0f}" stroke="#8a94a3" '
            'stroke-width="1.2" marker-end="url(#tip)"/>'
        )
    for room in PLACES:
        lines += _box(room)
    for number, room in enumerate(WAY, 1):
        x, y = _centre(room)
        x, y = x - BOX[0] / 2, y - BOX[1] / 2
        lines.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="11" fill="#b3261e"/>')
        lines.append(
            f'<text x="{x:.0f}" y="{y + 4:.0f}" font-size="12" font-weight="bold" '
            f'text-anchor="middle" fill="#ffffff">{number}</text>'
        )
    return "\n".join([*lines, "</svg>", ""])


def _box(room: str) -> list[str]:
    x, y = _centre(room)
    fill = {"featstore": "#e3efe6", "models": "#efe8f6"}.get(room.partition(".")[0], "#e6eefa")
    return [
        f'<rect x="{x - BOX[0] / 2:.0f}" y="{y - BOX[1] / 2:.0f}" width="{BOX[0]}" '
        f'height="{BOX[1]}" rx="6" fill="{fill}" stroke="#4a5566"/>',
        f'<text x="{x:.0f}" y="{y - 4:.0f}" font-size="14" font-weight="bold" '
        f'text-anchor="middle" fill="#1d2733">{escape(room.replace(".", "/"))}/</text>',
        f'<text x="{x:.0f}" y="{y + 15:.0f}" font-size="12" text-anchor="middle" '
        f'fill="#1d2733">{escape(WORDS[room])}</text>',
    ]


if __name__ == "__main__":
    (ROOT / "docs/rooms.svg").write_text(draw(), "utf-8")
