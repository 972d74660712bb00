"""The report of `gpu.py` as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]
Format = Callable[[Any], str]

GIBIBYTE = 2**30


def number(value: Any) -> str:
    """Return a number with three digits; anything else as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percent(value: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * value:.0f} %"


def gibibytes(value: float | None) -> str:
    """Return bytes in GiB."""
    return "" if value is None else f"{value / GIBIBYTE:.1f} GiB"


def relative(value: Row) -> str:
    """Return a deviation."""
    return f"{value['relative_rms']:.1e}"


def most(value: Row) -> str:
    """Return the largest deviation."""
    return f"{value['largest_absolute']:.1e}"


# Column to the key of its value, and how it is written.
BUILDS: dict[str, tuple[str, Format]] = {
    "backbone": ("backbone", str),
    "precision": ("precision", str),
    "clips/s": ("clips_per_second", number),
    "frames/s": ("frames_per_second", number),
    "share of the limit": ("share", percent),
    "bottleneck": ("bottleneck", str),
    "backbone alone, s": ("backbone_alone", number),
    "extraction, s": ("extraction", number),
    "whole, s": ("seconds", number),
    "batch": ("batch_size", str),
    "peak memory": ("peak_memory", gibibytes),
    "off by (relative)": ("deviation", relative),
    "at most": ("deviation", most),
}
TRAINING: dict[str, tuple[str, Format]] = {
    "recipe": ("recipe", str),
    "device": ("device", str),
    "epochs": ("epochs", str),
    "an epoch, s": ("epoch", number),
    "whole, s": ("whole", number),
    "waiting for data": ("data_share", percent),
}
SEEDS: dict[str, tuple[str, Format]] = {
    "recipe": ("recipe", str),
    "device": ("device", str),
    "seeds": ("seeds", str),
    "epochs each": ("epochs", str),
    "whole, s": ("whole", number),
}
FINETUNING: dict[str, tuple[str, Format]] = {
    "backbone": ("backbone", str),
    "precision": ("precision", str),
    "frames an epoch": ("frames", str),
    "an epoch, s": ("epoch", number),
    "whole, s": ("whole", number),
}
DECODERS: dict[str, tuple[str, Format]] = {
    "decoder": ("decoder", str),
    "frames/s": ("frames_per_second", number),
    "features differ by (relative)": ("relative_rms", number),
}
REFERENCE: dict[str, tuple[str, Format]] = {
    "backbone": ("backbone", str),
    "clips": ("clips", str),
    "whole, s": ("seconds", number),
}
# Step to its heading, and its columns; without columns, a list of facts.
SECTIONS: dict[str, tuple[str, dict[str, tuple[str, Format]]]] = {
    "device": ("Machine", {}),
    "recordings": ("Recording", {}),
    "builds": ("Builds", BUILDS),
    "reference": ("The CPU's float32 features, to compare with", REFERENCE),
    "tests": ("Tests", {}),
    "training": ("Training", TRAINING),
    "seeds": ("Several seeds", SEEDS),
    "finetuning": ("Finetuning", FINETUNING),
    "nvdec": ("Decoding by torchcodec", DECODERS),
    "torchrun": ("Under torchrun", {}),
    "memory": ("Out of memory", {}),
}


def tables(report: Row) -> str:
    """Return the report: a section for each step, then what failed and what was left out."""
    steps = report["steps"]
    lines = ["# GPU report", ""]
    if report["quick"]:
        lines += ["Tiny sizes (`--quick`): these figures tell only that everything runs.", ""]
    for name, (title, columns) in SECTIONS.items():
        rows = [
            row for row in steps.get(name, {}).get("rows", []) if not {"error", "skipped"} & {*row}
        ]
        if rows:
            lines += [f"## {title}", "", *(table(rows, columns) if columns else facts(rows)), ""]
    missing = [line for name, step in steps.items() for line in gaps(name, step)]
    lines += ["## Not measured", "", *(missing or ["Nothing: every step ran to its end."]), ""]
    lines.append(f"{report['seconds']:.0f} s in all.")
    return "\n".join(lines)


def table(rows: Sequence[Row], columns: dict[str, tuple[str, Format]]) -> list[str]:
    """Return the rows that have the table's first column, then the others as facts."""
    first = next(iter(columns.values()))[0]
    shown, others = ([row for row in rows if (first in row) == has] for has in (True, False))
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for row in shown:
        cells = [form(row[key]) if key in row else "" for key, form in columns.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return lines + (["", *facts(others)] if others else [])


def facts(rows: Sequence[Row]) -> list[str]:
    """Return rows as lines of names and values."""
    return [
        "- "
        + ", ".join(
            f"{key.replace('_', ' ')}: {number(value)}"
            for key, value in row.items()
            if value is not None
        )
        for row in rows
    ]


def gaps(name: str, step: Row) -> list[str]:
    """Return lines that say what a step has not measured, and why."""
    lines = [f"- {name}: {step[key]}" for key in ("error", "skipped") if key in step]
    for row in step.get("rows", []):
        for key in ("error", "skipped"):
            if key in row:
                what = ", ".join(str(value) for other, value in row.items() if other != key)
                lines.append(f"- {name}, {what}: {row[key]}")
    return lines
