"""Write the table of docs/backbones.md from the code: ``python docs/list_backbones.py``.

A test fails where the table is not what this makes.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from models.catalogue import BACKBONES, BackboneSpec  # noqa: E402
from models.families import FAMILIES, Family  # noqa: E402
from models.packaged import PACKAGED, package_of  # noqa: E402

PAGE = ROOT / "docs/backbones.md"
BEGIN, END = "<!-- docs/list_backbones.py -->", "<!-- end -->"
KINDS = "pooled, mean, grid, tokens"
HEADER = (
    "name",
    "vector",
    "length",
    "kinds of features",
    "frame, pixels",
    "window, frames",
    "usual weights (`default` in bold)",
    "their licence",
    "compared in tests with",
)
POOLED = {
    "pooler": "the model's own pooling",
    "cls": "class token",
    "mean": "mean over places",
}


def table() -> str:
    """Return the table in Markdown."""
    rows = [HEADER, ("---",) * len(HEADER)]
    rows += [_of_torchvision(spec) for spec in BACKBONES.values()]
    rows += [_of_package(name) for name in PACKAGED]
    rows.append(
        (
            *("timm:NAME", "as with `num_classes=0`", "by model"),
            *(f"{KINDS}, stages; cls of ViTs", "by model", "", "a file", "by model", "timm"),
        )
    )
    rows += [_of_transformers(family) for family in FAMILIES.values()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _of_torchvision(spec: BackboneSpec) -> tuple[str, ...]:
    *others, last = spec.weights
    kinds = KINDS + (", cls" if spec.layout == "tokens" else "")
    default = " (default)" if spec.name == "resnet18" else ""
    window = _sizes(spec.window, spec.min_window) if spec.kind == "video" else ""
    return (
        spec.name + default,
        f"input of `{spec.classifier}`",
        str(spec.dim),
        kinds,
        _sizes(spec.size, spec.min_size),
        window,
        ", ".join([*others, f"**{last}**"]),
        "BSD-3-Clause",
        "torchvision",
    )


def _sizes(only: int | None, least: int) -> str:
    if only is not None:
        return f"{only} only"
    return f"{least} or more" if least > 1 else "any"


def _of_package(name: str) -> tuple[str, ...]:
    package = package_of(name)
    return (
        *(name, "as with `num_classes=0`", "1280", f"{KINDS}, stages", "any", ""),
        *(f"**package {package}**", "Apache-2.0", "timm"),
    )


def _of_transformers(family: Family) -> tuple[str, ...]:
    kinds = KINDS + (", cls" if family.prefix else "")
    video = family.kind == "video"
    window = f"{'by default ' if family.free_window else ''}the model's, often {family.window[1]}"
    return (
        f"hf:FOLDER with {family.title} (`{family.name}`)",
        POOLED[family.pooled],
        "by model",
        kinds,
        "the model's only" if video else "the processor's",
        window if video else "",
        "model.safetensors of the folder",
        family.licence,
        "transformers",
    )


def page() -> str:
    """Return the page with the table in its place."""
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
