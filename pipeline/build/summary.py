"""Messages and tables about builds and stores."""

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
from models.feature_kinds import POOLED
from pipeline.build.extract.timings import BESIDE, bottleneck
from pipeline.build.plan.build_plan import BuildPlan
from pipeline.build.plan.clips import counts
from pipeline.sources.base import SPLITS
from pipeline.sources.labels import listing
from pipeline.system.progress import human_time
from pipeline.video.grey import looks_grey
from pipeline.video.videos import Video

UNTRAINED = "UNTRAINED backbone: its weights are random."
UNNOTICED = "it does not detect damaged frames; see docs/decoding.md."
UNKNOWN_SUBJECTS = (
    "Subjects are unknown: each video counts as a subject, so one person may be in two parts."
)


def table(rows: Sequence[Sequence[object]]) -> str:
    """Return rows in aligned columns: the first left-aligned, the others right-aligned.

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


def describe(plan: BuildPlan, *, weights: bool = True) -> Iterator[str]:
    """Yield a summary of the build before features are extracted."""
    dataset, options = plan.dataset, plan.options
    yield (
        f"{dataset.title}: {len(plan.clips)} clips of {len(dataset.classes)} classes in "
        f"{len(plan.videos)} videos"
    )
    clips = counts(plan.clips, "label")
    subjects = counts(plan.clips, "subject")
    for part in SPLITS:
        names = ", ".join(sorted(subjects[part], key=_natural)) if dataset.subjects_known else "?"
        shown = names if len(names) <= 60 else f"{names[:57]}..."
        yield f"  {part:5} {sum(clips[part].values()):6} clips  subjects: {shown or 'none'}"
    yield from dataset.notes
    if unreadable := [video for video in plan.videos if video.unreadable]:
        first = unreadable[0]
        yield f"{len(unreadable)} videos cannot be read, such as {first.path}: {first.unreadable}"
    if several := [video for video in plan.videos if video.index.streams > 1]:
        path, index = several[0].path, several[0].index
        yield (
            f"{len(several)} videos hold several video streams, such as {path}: stream "
            f"{index.stream + 1} of {index.streams} is read, as players do"
        )
    yield from _delays(plan.videos)
    if plan.dropped:
        names = listing([clip.clip_id for clip in plan.dropped], 5)
        count, least = len(plan.dropped), plan.min_frames
        yield f"dropped {count} clips shorter than {least} frames: {names}"
    pixels = plan.pixels
    rate = f"{float(pixels.fps):g} frames a second" if pixels.fps else "every frame"
    yield f"pixels {pixels.mode}, {rate}, {options.size} x {options.size} ({options.fit})"
    if options.decoder != "pyav":
        yield f"decoder {options.decoder}: {UNNOTICED}"
    if weights:
        kind = "" if options.features == POOLED else f", features {options.features}"
        yield f"backbone {options.backbone}, {plan.weights}{kind}"
        if options.view:
            flip = "with" if options.view.flip else "without"
            yield f"augmented view {options.view.number}, {flip} flips"
    seen = next(video for video in plan.videos if not video.unreadable)
    if pixels.mode == "rgb" and looks_grey(seen.path, seen.index):
        yield f"{seen.path} has no colour; --pixels luma reads infrared as it is."
    deep = [v for v in plan.videos if v.index.bits > 8] if pixels.mode == "rgb" else []
    if deep:
        yield (
            f"{len(deep)} of {len(plan.videos)} videos have values of more than 8 bits, such "
            f"as {deep[0].path} with {deep[0].index.bits}; --pixels rgb cuts them to 8."
        )
    if weights and options.normalise.measured:
        yield "mean and std belong to this split's training clips: another split is extracted again"


def _delays(videos: Sequence[Video]) -> Iterator[str]:
    """Yield a note if videos start half a frame or more after their files."""
    late = [v for v in videos if 2 * v.index.delay * Fraction(v.index.rate or 1) >= 1]
    if late:
        worst = max(late, key=lambda video: video.index.delay)
        yield (
            f"{len(late)} videos begin after their files, such as {worst.path} "
            f"{float(worst.index.delay):.3f} s after: seconds count from the beginning of the "
            "file, as players show them"
        )


def caveats(*, subjects_known: bool, untrained: bool) -> list[str]:
    """Return the caveats that every output shows for such features."""
    unknown = [] if subjects_known else [UNKNOWN_SUBJECTS]
    return [*unknown, *([UNTRAINED] if untrained else [])]


def failures(attributes: Mapping[str, Any], most: int = 5) -> Iterator[str]:
    """Yield the failed clips of a store, and the reasons."""
    failed = attributes.get("failed", {})
    if failed:
        total = sum(attributes["clips"].values())
        yield f"{len(failed)} of {total} clips FAILED; training skips them:"
    for clip, reason in list(failed.items())[:most]:
        yield f"  {clip}: {reason}"
    if len(failed) > most:
        yield f"  and {len(failed) - most} more"
    if failed:
        yield "  repair the videos and build again, or retry them with --retry-failed"


def planned_shape(plan: BuildPlan) -> tuple[int, int]:
    """Return the number of steps of the planned store, and the length of a step."""
    options = plan.options
    spec = BACKBONES.get(options.backbone)
    inputs, _ = plan.inputs()
    steps = sum(map(len, inputs))
    if spec and options.features == POOLED:
        return steps, spec.dim
    from pipeline.build.extract.backbone import planned_dim

    return steps, planned_dim(plan.extraction)


def dry_run_table(plan: BuildPlan, steps: int, dim: int) -> str:
    """Return a table with the size of the planned store, of `planned_shape`."""
    options = plan.options
    folder = options.store if options.store.is_dir() else options.store.absolute().parent
    return table(
        [
            ["clips", len(plan.clips)],
            ["steps", steps],
            ["features", f"{steps} x {dim}"],
            ["size", human_size(store_bytes(steps, dim))],
            ["free", human_size(shutil.disk_usage(folder).free)],
            ["key", "known after the download"]
            if plan.weights.absent
            else ["built", "yes" if plan.built else "no"],
        ]
    )


def timing_table(plan: BuildPlan, seconds: dict[str, float]) -> str:
    """Return a build's seconds by stage, decoded frames, and bottleneck."""
    stages, facts = dict(seconds), read_provenance(plan.path)
    total = stages.pop("total")
    threads = {stage: stages.pop(stage) for stage in BESIDE if stage in stages}
    # On Dask the stages of all workers are added up, which may be more than the total.
    other = max(0.0, total - sum(stages.values()))
    rows = [
        [stage, human_time(value), f"{100 * value / total:.0f} %"]
        for stage, value in {**stages, "other": other, "total": total}.items()
    ]
    lines = [f"built {len(plan.clips)} clips, {len(plan.clips) / total:.1f} clips a second"]
    lines.append(table(rows))
    if threads:
        spent = ", ".join(f"{stage} {human_time(value)}" for stage, value in threads.items())
        lines.append(f"meanwhile, summed over threads: {spent}")
    if used := facts.get("frames_used"):
        decoded = facts.get("frames_decoded")
        lines.append(f"frames {f'decoded {decoded}, ' if decoded else ''}used {used}")
    if error := facts.get("precision_error"):
        rms, most = error["relative_rms"], error["largest_absolute"]
        own = f"{plan.options.precision} is off by {rms:.1e} of the features"
        lines.append(f"{own} (root mean square), by {most:.1e} at most")
    if slowest := bottleneck({**stages, **threads}):
        lines.append(f"bottleneck: {slowest}")
    return "\n".join(lines)


SHOWN = ("features", "statistics", "steps", "repeated_last_frame", "numerics", "untrained")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return " x ".join(map(str, value))
    return "-" if value is None else str(value)


def _natural(name: str) -> list[tuple[str, int]]:
    """Return a sort key that puts vp2 before vp10."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name)]
