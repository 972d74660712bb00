"""Match ``.npy`` files to the rows of a table by name; opens no file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from featstore.errors import InputError
from featstore.text import nearest_name
from pipeline.sources.files import is_visible, locate, without_suffix
from pipeline.sources.labels import listing
from pipeline.sources.names import check_utf8, normal
from pipeline.sources.rows import Row

NPY = ".npy"
# Files that video_features writes next to NAME_rgb.npy; they hold no features.
FPS, TIMES = "_fps", "_timestamps_ms"
COMPANIONS = (FPS, TIMES)
SHOWN = 5


@dataclass(frozen=True, slots=True)
class ClipFile:
    """The file of one row.

    Attributes
    ----------
    clip_id : str
    path : Path
    times : Path or None
        The file with its times in milliseconds.
    """

    clip_id: str
    path: Path
    times: Path | None


def stems_below(folder: Path) -> dict[str, Path]:
    """Return the ``.npy`` files in a folder by name without suffix, in normal form C.

    Raises
    ------
    InputError
        If there are none, two have the same name, or a name is not UTF-8.
    """
    npy_files = sorted(folder.rglob(f"*{NPY}"))
    paths = [p for p in npy_files if all(map(is_visible, p.relative_to(folder).parts))]
    if not paths:
        pickles = any(folder.rglob("*.pkl"))
        hint = (
            "pickled features are not supported; extract with on_extraction=save_numpy"
            if pickles
            else "pass the folder that holds one for every clip"
        )
        raise InputError(f"There is no .npy file in {folder}; {hint}.")
    stems: dict[str, Path] = {}
    for path in paths:
        check_utf8(path)
        stem = normal(path.relative_to(folder).as_posix().removesuffix(NPY))
        if (first := stems.setdefault(stem, path)) is not path:
            raise InputError(
                f"{first} and {path} are the same name in different Unicode forms; rename one."
            )
    return stems


def files_of(
    folder: Path, rows: Sequence[Row], suffix: str | None
) -> tuple[list[ClipFile], list[str]]:
    """Return the file of every row.

    Parameters
    ----------
    folder : Path
    rows : sequence of Row
        With a column ``file``, ``clip_id`` or ``video``, in this order of preference.
    suffix : str or None
        Suffix after the clip id in file names, such as ``_rgb``; by default the most common one.

    Returns
    -------
    files : list of ClipFile
        One per row.
    unlisted : list of str
        Names of the files without a row.

    Raises
    ------
    InputError
        If a file is missing, two rows have the same file, or several suffixes match.
    """
    stems = stems_below(folder)
    if "file" in rows[0].cells:
        if suffix is not None:
            raise InputError(
                f"--suffix is {suffix!r}, but {rows[0].file} already has a column file; remove one "
                "of the two."
            )
        # Make an absolute path relative to the folder.
        names = [locate(folder, row.text("file"))[0] for row in rows]
        row_stems = [name.removesuffix(NPY) for name in names]
        ids = [row.text("clip_id") for row in rows] if "clip_id" in rows[0].cells else row_stems
        others: Collection[str] = ()
    else:
        column = "clip_id" if "clip_id" in rows[0].cells else "video"
        ids = [row.text(column) for row in rows]
        if stems.keys().isdisjoint(ids):  # feature files lack the video's extension
            ids = [without_suffix(clip_id) for clip_id in ids]
        suffix, others = choose_suffix(folder, ids, stems, suffix)
        row_stems = [f"{clip_id}{suffix}" for clip_id in ids]
    paths = [stems.get(stem, folder / f"{stem}{NPY}") for stem in row_stems]
    _check_there(rows, paths, stems)
    _check_unique(rows, paths)
    files = [
        ClipFile(clip_id, path, _times_of(stems, clip_id, stem, set(row_stems)))
        for clip_id, path, stem in zip(ids, paths, row_stems, strict=True)
    ]
    named = {*row_stems, *(f"{clip_id}{other}" for clip_id in ids for other in others)}
    unlisted = [s for s in stems if s not in named and not s.endswith(COMPANIONS)]
    return files, unlisted


def choose_suffix(
    folder: Path, ids: Collection[str], stems: Collection[str], requested: str | None
) -> tuple[str, list[str]]:
    """Return the suffix after clip ids in file names, and all suffixes that every clip has.

    Examples
    --------
    >>> choose_suffix(Path("x"), ["a", "b"], ["a_rgb", "b_rgb", "a_fps", "b_fps"], None)
    ('_rgb', ['_rgb'])
    """
    clip_ids, counts = set(ids), Counter[str]()
    for stem in stems:
        underscores = (position for position, sign in enumerate(stem) if sign == "_")
        for position in (*underscores, len(stem)):
            if stem[:position] in clip_ids and stem[position:] not in COMPANIONS:
                counts[stem[position:]] += 1
    complete = [candidate for candidate, count in counts.items() if count == len(clip_ids)]
    if requested is not None:
        suffix = requested if requested.startswith("_") or not requested else f"_{requested}"
        return suffix, complete
    most = max(counts.values(), default=0)
    best = sorted(candidate for candidate, count in counts.items() if count == most)
    if not best or "" in best:
        return "", []
    if len(best) > 1:
        names = ", ".join(candidate.removeprefix("_") for candidate in best)
        raise InputError(
            f"{folder} has {len(best)} files per clip ({names}); choose one with "
            f"--suffix {best[0].removeprefix('_')}."
        )
    return best[0], complete


def refuse_unlisted(labels: Path, unlisted: Sequence[str]) -> None:
    """Refuse files without a row.

    Raises
    ------
    InputError
    """
    raise InputError(
        f"{len(unlisted)} files have no row in {labels}: {listing(unlisted, SHOWN)}; add rows, or "
        "skip these files with --allow-unlisted."
    )


def _check_there(rows: Sequence[Row], paths: Sequence[Path], stems: Collection[str]) -> None:
    missing = [(row, path) for row, path in zip(rows, paths, strict=True) if not path.is_file()]
    if missing:
        row, path = missing[0]
        names = listing([file.name for _, file in missing], SHOWN)
        features = [stem for stem in stems if not stem.endswith(COMPANIONS)] or stems
        near = nearest_name(path.name.removesuffix(NPY), features)
        hint = f"; the nearest file is {near}{NPY}" if near else ""
        raise InputError(
            f"{row.where}: {path} does not exist{hint}. Missing are "
            f"{len(missing)} of {len(rows)} files: {names}; correct the rows, or take them out."
        )


def _check_unique(rows: Sequence[Row], paths: Sequence[Path]) -> None:
    seen: dict[Path, Row] = {}
    for row, path in zip(rows, paths, strict=True):
        first = seen.setdefault(path, row)
        if first is not row:
            raise InputError(
                f"{first.where} and {row.where} both have {path.name}; save each clip to a "
                "separate file."
            )


def _times_of(
    stems: dict[str, Path], clip_id: str, stem: str, listed: Collection[str]
) -> Path | None:
    for base in (clip_id, stem, stem.rpartition("_")[0]):
        name = f"{base}{TIMES}"
        if name in stems and name not in listed:
            return stems[name]
    return None
