"""Draw docs/pictures/*.svg: what featstore does, and one picture for each concept.

``python docs/draw_concepts.py`` writes the pictures. A test fails where they are not what it draws.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent / "pictures"
INK, GREY, PAPER = "#1f2933", "#5f6b7a", "#ffffff"
BLUE, GREEN, AMBER, RED = "#dbeafe", "#dcfce7", "#fef3c7", "#fee2e2"
FONT = "font-family='system-ui, -apple-system, Segoe UI, Roboto, sans-serif'"
ARROW = (
    "<defs><marker id='a' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' "
    f"orient='auto'><path d='M0 0L8 4L0 8z' fill='{GREY}'/></marker></defs>"
)


def text(
    x: float, y: float, words: str, size: int = 13, color: str = INK, bold: bool = False
) -> str:
    """Return a line of text, centred at x."""
    weight = " font-weight='600'" if bold else ""
    return (
        f"<text x='{x:g}' y='{y:g}' {FONT} font-size='{size}' fill='{color}' "
        f"text-anchor='middle'{weight}>{escape(words)}</text>"
    )


def box(x: float, y: float, width: float, height: float, fill: str, title: str, *lines: str) -> str:
    """Return a box with a title and lines below it."""
    top = y + height / 2 + 5 - 8.5 * len(lines)
    return "".join(
        [
            f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' rx='7' "
            f"fill='{fill}' stroke='{GREY}' stroke-opacity='.5'/>",
            text(x + width / 2, top, title, bold=True),
            *(
                text(x + width / 2, top + 17 * (n + 1), each, 12, GREY)
                for n, each in enumerate(lines)
            ),
        ]
    )


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    """Return an arrow between two points."""
    return (
        f"<path d='M{x1:g} {y1:g}L{x2:g} {y2:g}' stroke='{GREY}' stroke-width='1.5' "
        "marker-end='url(#a)'/>"
    )


def overview() -> tuple[int, int, list[str]]:
    """Return the two stages, and what is between them."""
    return (
        880,
        190,
        [
            box(20, 35, 150, 80, BLUE, "videos", "+ who does what when"),
            arrow(172, 75, 258, 75),
            text(215, 65, "build", 13, INK, bold=True),
            text(215, 95, "once", 12, GREY),
            box(262, 35, 170, 80, AMBER, "store", "features of every clip,", "named by content"),
            arrow(434, 75, 528, 75),
            text(481, 65, "train", 13, INK, bold=True),
            text(481, 95, "many times", 12, GREY),
            box(532, 35, 150, 80, GREEN, "run", "weights, scores,", "report.html"),
            arrow(684, 75, 752, 75),
            text(717, 65, "predict", 13, INK, bold=True),
            box(756, 35, 118, 80, BLUE, "new videos", "labels over time"),
            text(215, 150, "decodes and runs a frozen backbone:", 12, GREY),
            text(215, 167, "minutes to hours", 12, GREY),
            text(481, 150, "opens no video:", 12, GREY),
            text(481, 167, "seconds to minutes", 12, GREY),
        ],
    )


def store() -> tuple[int, int, list[str]]:
    """Return the rows of a store, which clips share out."""
    parts = ["train", "train", "val", "test"]
    steps, x, shapes = [5, 8, 4, 6], 150.0, []
    for clip, (part, count) in enumerate(zip(parts, steps, strict=True)):
        color = {"train": BLUE, "val": AMBER, "test": GREEN}[part]
        for row in range(count):
            shapes.append(
                f"<rect x='{x + 20 * row:g}' y='50' width='16' height='64' rx='3' fill='{color}' "
                f"stroke='{GREY}' stroke-opacity='.5'/>"
            )
        middle = x + 10 * count - 2
        shapes += [text(middle, 40, f"clip {clip}", 12), text(middle, 132, part, 12, GREY)]
        x += 20 * count + 22
    return (
        760,
        160,
        [
            text(70, 76, "features", 13, INK, bold=True),
            text(70, 94, "one bar for each step", 12, GREY),
            *shapes,
            text(380, 152, "+ labels, subjects, frames, times, statistics, checksums", 12, GREY),
        ],
    )


def key() -> tuple[int, int, list[str]]:
    """Return what goes into a key, and what a change brings."""
    inputs = ["videos", "annotations", "pixels, rate", "backbone, weights"]
    return (
        760,
        200,
        [
            *(box(20, 16 + 43 * n, 170, 34, BLUE, each) for n, each in enumerate(inputs)),
            *(arrow(192, 33 + 43 * n, 288, 92 + 5 * n) for n in range(4)),
            box(292, 66, 120, 66, AMBER, "hash", "key 3f9a02..."),
            arrow(414, 86, 488, 54),
            arrow(414, 112, 488, 146),
            box(492, 20, 248, 66, GREEN, "the same key", "the store exists: nothing is done"),
            box(492, 114, 248, 66, RED, "another key", "another store next to the old one"),
        ],
    )


def split() -> tuple[int, int, list[str]]:
    """Return people, each in one part."""
    shapes, x = [], 30.0
    for name, color, count, use in (
        ("train", BLUE, 6, "the head learns"),
        ("val", AMBER, 2, "chooses recipe and epoch"),
        ("test", GREEN, 3, "is scored once"),
    ):
        width = 58 * count + 18
        shapes.append(
            f"<rect x='{x:g}' y='30' width='{width}' height='80' rx='9' fill='none' "
            f"stroke='{GREY}' stroke-dasharray='4 3'/>"
        )
        for person in range(count):
            middle = x + 38 + 58 * person
            shapes.append(
                f"<circle cx='{middle:g}' cy='58' r='10' fill='{color}' stroke='{GREY}'/>"
                f"<path d='M{middle - 17:g} 96a17 22 0 0 1 34 0z' fill='{color}' stroke='{GREY}'/>"
            )
        shapes.append(text(x + width / 2, 20, name, 13, INK, bold=True))
        shapes.append(text(x + width / 2, 130, use, 12, GREY))
        x += width + 26
    return 812, 145, shapes


def recipe() -> tuple[int, int, list[str]]:
    """Return what a recipe decides, from a clip's features to its class."""
    stages = [
        ("data", "resample,", "standardise"),
        ("augment", "noise, mixup,", "crop"),
        ("head", "linear, tcn,", "bilstm, ..."),
        ("train", "loss, optimizer,", "early stopping"),
    ]
    shapes = [text(60, 62, "features", 13, INK, bold=True), text(60, 80, "of a clip", 12, GREY)]
    for number, (title, *lines) in enumerate(stages):
        x = 116 + 150 * number
        shapes += [arrow(x - 16, 66, x + 2, 66), box(x + 6, 26, 122, 80, AMBER, title, *lines)]
    return 790, 130, [*shapes, arrow(700, 66, 726, 66), text(754, 70, "class", 13, INK, bold=True)]


def run() -> tuple[int, int, list[str]]:
    """Return the files of a run."""
    files = [
        ("config.yaml", "recipe, seed, versions"),
        ("weights.safetensors", "of the best epoch"),
        ("metrics.json", "scores, intervals"),
        ("predictions.csv", "every clip of val and test"),
        ("report.html", "all of it to look at"),
    ]
    shapes = [box(20, 62, 130, 66, AMBER, "store", "key 3f9a02..."), arrow(152, 95, 226, 95)]
    shapes += [text(190, 85, "train", 13, INK, bold=True)]
    shapes += [
        f"<rect x='230' y='14' width='330' height='166' rx='9' fill='{GREEN}' stroke='{GREY}' "
        "stroke-opacity='.5'/>",
        *(
            f"<text x='{x}' y='{44 + 30 * n}' {FONT} font-size='{size}' fill='{color}'>"
            f"{escape(words)}</text>"
            for n, (name, what) in enumerate(files)
            for x, words, size, color in ((248, name, 13, INK), (400, what, 12, GREY))
        ),
        arrow(562, 60, 616, 60),
        box(620, 34, 120, 52, BLUE, "compare"),
        arrow(562, 134, 616, 134),
        box(620, 108, 120, 52, BLUE, "predict"),
    ]
    return 760, 195, shapes


def pictures() -> dict[str, str]:
    """Return every picture as SVG, by its file name."""
    drawn = {}
    for draw in (overview, store, key, split, recipe, run):
        width, height, shapes = draw()
        drawn[f"{draw.__name__}.svg"] = (
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' "
            f"width='{width}' height='{height}' role='img'>{ARROW}"
            f"<rect width='{width}' height='{height}' rx='10' fill='{PAPER}'/>\n"
            + "\n".join(shapes)
            + "\n</svg>\n"
        )
    return drawn


def main() -> None:
    """Write the pictures."""
    FOLDER.mkdir(exist_ok=True)
    for name, drawn in pictures().items():
        (FOLDER / name).write_text(drawn, "utf-8")


if __name__ == "__main__":
    main()
