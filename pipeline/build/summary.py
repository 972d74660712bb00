"""What is said to people about builds and stores, as lines and small tables."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from featstore.manage.provenance import read_provenance
from featstore.text import human_size, visible
from featstore.writing.destinations import store_bytes
from models.catalogue import BACKBONES
from pipeline.build.extract.timings import BESIDE, bottleneck
from pipeline.build.plan.build_plan import Prepared
from pipeline.build.plan.clips import counts
from pipeline.build.plan.steps import clip_inputs
from pipeline.sources.base import SPLITS
from pipeline.sources.labels import listing
from pipeline.system.progress import human_time
from pipeline.video.grey import looks_grey
from pipeline.video.videos import Video

UNTRAINED = "UNTRAINED backbone: its weights are random."
UNNOTICED = "it does not notice frames that are damaged; see docs/decoding.md."
UNKNOWN_SUBJECTS = (
    "Subjects are not known: each video counts as its own, so one person may be in two parts."
)


def table(rows: Sequence[Sequence[object]]) -> str:
    """Return rows in aligned columns: the first to the left, the others to the right.

    Examples
    --------
    >>> print(table([["decode", 12], ["write", 3]]))
    decode  12
    write    3
    """
    texts = [[visible(str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in texts) for i in range(len(texts[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    )


def describe(prepared: Prepared, *, weights: bool = True) -> Iterator[str]:
    """Yield what a user should know before features are extracted."""
    dataset, options = prepared.dataset, prepared.options
    yield (
        f"{dataset.title}: {len(prepared.clips)} clips of {len(dataset.classes)} classes in "
        f"{len(prepared.videos)} videos"
    )
    clips = counts(prepared.clips, "label")
    subjects = counts(prepared.clips, "subject")
    for part in SPLITS:
        names = ", ".join(sorted(subjects[part], key=_natural)) if dataset.subjects_known else "?"
        shown = names if len(names) <= 60 else f"{names[:57]}..."
        yield f"  {part:5} {sum(clips[part].values()):6} clips  subjects: {shown or 'none'}"
    yield from dataset.notes
    if unreadable := [video for video in prepared.videos if video.unreadable]:
        first = unreadable[0]
        yield f"{len(unreadable)} videos cannot be read, such as {first.path}: {first.unreadable}"
    if several := [video for video in prepared.videos if video.index.streams > 1]:
        path, index = several[0].path, several[0].index
        yield (
            f"{len(several)} videos hold several video streams, such as {path}: stream "
            f"{index.stream + 1} of {index.streams} is read, as players do"
        )
    yield from _delays(prepared.videos)
    if prepared.dropped:
        names = listing([clip.clip_id for clip in prepared.dropped], 5)
        count, least = len(prepared.dropped), prepared.min_frames
        yield f"dropped {count} clips shorter than {least} frames: {names}"
    rate = f"{float(prepared.fps):g} frames a second" if prepared.fps else "every frame"
    yield f"pixels {prepared.pixels}, {rate}, {options.size} x {options.size} ({options.fit})"
    if options.decoder != "pyav":
        yield f"decoder {options.decoder}: {UNNOTICED}"
    if weights:
        yield f"backbone {options.backbone}, {prepared.weights}"
    seen = next(video for video in prepared.videos if not video.unreadable)
    if prepared.pixels == "rgb" and looks_grey(seen.path, seen.index):
        yield f"{seen.path} has no colour; --pixels luma reads infrared as it is."
    deep = [v for v in prepared.videos if v.index.bits > 8] if prepared.pixels == "rgb" else []
    if deep:
        yield (
            f"{len(deep)} of {len(prepared.videos)} videos have values of more than 8 bits, such "
            f"as {deep[0].path} with {deep[0].index.bits}; --pixels rgb cuts them to 8."
        )
    if weights and options.normalise == "split":
        yield "mean and std belong to this split's training clips: another split is extracted anew"


def _delays(videos: Sequence[Video]) -> Iterator[str]:
    """Yield that videos begin after their files, by half a frame or more."""
    late = [v for v in videos if 2 * v.index.delay * Fraction(v.index.rate or 1) >= 1]
    if late:
        worst = max(late, key=lambda video: video.index.delay)
        yield (
            f"{len(late)} videos begin after their files, such as {worst.path} "
            f"{float(worst.index.delay):.3f} s after: seconds count from the beginning of the "
            "file, as players show them"
        )


def caveats(*, subjects_known: bool, untrained: bool) -> list[str]:
    """Return what every output says of such features."""
    unknown = [] if subjects_known else [UNKNOWN_SUBJECTS]
    return [*unknown, *([UNTRAINED] if untrained else [])]


def failures(attributes: Mapping[str, Any], most: int = 5) -> Iterator[str]:
    """Yield which clips of a store failed, and why."""
    failed = attributes.get("failed", {})
    if failed:
        total = sum(attributes["clips"].values())
        yield f"{len(failed)} of {total} clips FAILED, and no training uses them:"
    for clip, reason in list(failed.items())[:most]:
        yield f"  {clip}: {reason}"
    if len(failed) > most:
        yield f"  and {len(failed) - most} more"
    if failed:
        yield "  mend the videos and build again, or try the same again with --retry-failed"


def dry_run_table(prepared: Prepared) -> str:
    """Return how large the store would be."""
    options = prepared.options
    spec = BACKBONES.get(options.backbone)
    inputs, _ = clip_inputs(prepared.clips, prepared.videos, options, prepared.fps)
    steps = sum(map(len, inputs))
    dim = spec.dim if spec else _timm_dim(prepared)
    folder = options.store if options.store.is_dir() else options.store.absolute().parent
    return table(
        [
            ["clips", len(prepared.clips)],
            ["steps", steps],
            ["features", f"{steps} x {dim}"],
            ["size", human_size(store_bytes(steps, dim))],
            ["free", human_size(shutil.disk_usage(folder).free)],
            ["built", "yes" if prepared.built else "no"],
        ]
    )


def _timm_dim(prepared: Prepared) -> int:
    import torch

    from pipeline.build.extract.backbone import batch_shape, feature_dim, load_backbone

    device = torch.device("cpu")
    backbone = load_backbone(prepared.options.backbone, prepared.weights)
    return feature_dim(backbone, batch_shape(prepared.options, device), device)


def timing_table(prepared: Prepared, seconds: dict[str, float]) -> str:
    """Return where the time of a build went, what was decoded, and what held it up."""
    stages, facts = dict(seconds), read_provenance(prepared.path)
    total = stages.pop("total")
    # Where workers compute, their stages add up to more than the whole.
    other = total - sum(value for stage, value in stages.items() if stage not in BESIDE)
    rows = [
        [stage, human_time(value), f"{100 * value / total:.0f} %"]
        for stage, value in {**stages, "other": max(0.0, other), "total": total}.items()
    ]
    lines = [f"built {len(prepared.clips)} clips, {len(prepared.clips) / total:.1f} clips a second"]
    lines.append(table(rows))
    if beside := [stage for stage in BESIDE if stage in stages]:
        lines.append(f"{', '.join(beside)} run beside the others, their threads added up")
    if used := facts.get("frames_used"):
        decoded = facts.get("frames_decoded")
        lines.append(f"frames {f'decoded {decoded}, ' if decoded else ''}used {used}")
    if error := facts.get("precision_error"):
        rms, most = error["relative_rms"], error["largest_absolute"]
        own = f"{prepared.options.precision} is off by {rms:.1e} of the features"
        lines.append(f"{own} (root mean square), by {most:.1e} at most")
    if slowest := bottleneck(stages):
        lines.append(f"bottleneck: {slowest}")
    return "\n".join(lines)


SHOWN = ("features", "statistics", "steps", "repeated_last_frame", "numerics", "untrained")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(own)}" for name, own in value.items())
    if isinstance(value, list):
        return " x ".join(map(str, value))
    return "-" if value is None else str(value)


def _natural(name: str) -> list[tuple[str, int]]:
    """Return what sorts vp2 before vp10."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name)]
