"""Which ``.npy`` file belongs to which row of a table. Looks at names, and opens nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from featstore.errors import InputError
from pipeline.sources.files import is_visible, locate, without_suffix
from pipeline.sources.labels import listing, nearest
from pipeline.sources.names import check_utf8, normal
from pipeline.sources.rows import Row

NPY = ".npy"
# What video_features leaves beside NAME_rgb.npy; no features.
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
    """Return the ``.npy`` files below a folder by their names without suffix, in normal form C.

    Raises
    ------
    InputError
        If there are none, or two have one name, or a name is not UTF-8.
    """
    found = sorted(folder.rglob(f"*{NPY}"))
    paths = [p for p in found if all(map(is_visible, p.relative_to(folder).parts))]
    if not paths:
        pickles = any(folder.rglob("*.pkl"))
        hint = (
            "pickled features are never read: extract with on_extraction=save_numpy"
            if pickles
            else "name the folder that holds one for every clip"
        )
        raise InputError(f"There is no .npy file in {folder}; {hint}.")
    stems: dict[str, Path] = {}
    for path in paths:
        check_utf8(path)
        stem = normal(path.relative_to(folder).as_posix().removesuffix(NPY))
        if (first := stems.setdefault(stem, path)) is not path:
            raise InputError(
                f"{first} and {path} differ only in how Unicode writes accents; rename one."
            )
    return stems


def files_of(
    folder: Path, rows: Sequence[Row], suffix: str | None
) -> tuple[list[ClipFile], list[str]]:
    """Find the file of every row.

    Parameters
    ----------
    folder : Path
    rows : sequence of Row
        With the column ``file``, or else ``clip_id``, or else ``video``.
    suffix : str or None
        What follows the clip id in a file's name, such as ``_rgb``; by default what most have.

    Returns
    -------
    files : list of ClipFile
        One a row.
    unlisted : list of str
        Names of the files that no row names.

    Raises
    ------
    InputError
        If a file is missing, two rows have one file, or several files fit every row.
    """
    stems = stems_below(folder)
    if "file" in rows[0].cells:
        if suffix is not None:
            raise InputError(
                f"--suffix is {suffix!r}, and {rows[0].file} has a column file that says which "
                "file is whose; leave one of the two out."
            )
        # Of an absolute path below the folder, the part below it.
        names = [locate(folder, row.text("file"))[0] for row in rows]
        found = [name.removesuffix(NPY) for name in names]
        ids = [row.text("clip_id") for row in rows] if "clip_id" in rows[0].cells else found
        others: Collection[str] = ()
    else:
        column = "clip_id" if "clip_id" in rows[0].cells else "video"
        ids = [row.text(column) for row in rows]
        if stems.keys().isdisjoint(ids):  # a video's ending is no part of its features' name
            ids = [without_suffix(own) for own in ids]
        suffix, others = choose_suffix(folder, ids, stems, suffix)
        found = [f"{clip_id}{suffix}" for clip_id in ids]
    paths = [stems.get(stem, folder / f"{stem}{NPY}") for stem in found]
    _check_there(rows, paths, stems)
    _check_unique(rows, paths)
    files = [
        ClipFile(clip_id, path, _times_of(stems, clip_id, stem, set(found)))
        for clip_id, path, stem in zip(ids, paths, found, strict=True)
    ]
    known = {*found, *(f"{own}{other}" for own in ids for other in others)}
    unlisted = [s for s in stems if s not in known and not s.endswith(COMPANIONS)]
    return files, unlisted


def choose_suffix(
    folder: Path, ids: Collection[str], stems: Collection[str], wanted: str | None
) -> tuple[str, list[str]]:
    """Return what follows the clip ids in file names, and every suffix that all clips have.

    Examples
    --------
    >>> choose_suffix(Path("x"), ["a", "b"], ["a_rgb", "b_rgb", "a_fps", "b_fps"], None)
    ('_rgb', ['_rgb'])
    """
    known, counts = set(ids), Counter[str]()
    for stem in stems:
        places = (place for place, sign in enumerate(stem) if sign == "_")
        for place in (*places, len(stem)):
            if stem[:place] in known and stem[place:] not in COMPANIONS:
                counts[stem[place:]] += 1
    complete = [own for own, count in counts.items() if count == len(known)]
    if wanted is not None:
        suffix = wanted if wanted.startswith("_") or not wanted else f"_{wanted}"
        return suffix, complete
    most = max(counts.values(), default=0)
    best = sorted(own for own, count in counts.items() if count == most)
    if not best or "" in best:
        return "", []
    if len(best) > 1:
        names = ", ".join(own.removeprefix("_") for own in best)
        raise InputError(
            f"{folder} has {len(best)} files a clip ({names}); choose one with "
            f"--suffix {best[0].removeprefix('_')}."
        )
    return best[0], complete


def refuse_unlisted(labels: Path, unlisted: Sequence[str]) -> None:
    """Refuse files that no row names.

    Raises
    ------
    InputError
    """
    raise InputError(
        f"{len(unlisted)} files have no row in {labels}: {listing(unlisted, SHOWN)}; add rows, or "
        "leave these files out with --allow-unlisted."
    )


def _check_there(rows: Sequence[Row], paths: Sequence[Path], stems: Collection[str]) -> None:
    missing = [(row, path) for row, path in zip(rows, paths, strict=True) if not path.is_file()]
    if missing:
        row, path = missing[0]
        names = listing([own.name for _, own in missing], SHOWN)
        features = [stem for stem in stems if not stem.endswith(COMPANIONS)] or stems
        close = nearest(path.name.removesuffix(NPY), features)
        raise InputError(
            f"{row.where}: {path} does not exist; the nearest file is {close}{NPY}. Missing are "
            f"{len(missing)} of {len(rows)} files: {names}; correct the rows, or take them out."
        )


def _check_unique(rows: Sequence[Row], paths: Sequence[Path]) -> None:
    seen: dict[Path, Row] = {}
    for row, path in zip(rows, paths, strict=True):
        first = seen.setdefault(path, row)
        if first is not row:
            raise InputError(
                f"{first.where} and {row.where} both have {path.name}; a clip is a whole file: "
                "save the rows of each clip to a file of its own."
            )


def _times_of(
    stems: dict[str, Path], clip_id: str, stem: str, listed: Collection[str]
) -> Path | None:
    for base in (clip_id, stem, stem.rpartition("_")[0]):
        name = f"{base}{TIMES}"
        if name in stems and name not in listed:
            return stems[name]
    return None
