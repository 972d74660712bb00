"""Match ``.npy`` files to clips by name; opens no file of features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from featstore.errors import InputError
from featstore.text import count_of, nearest_name
from pipeline.ingest.clip_file import NPY, ClipFile
from pipeline.sources.files import is_visible, without_suffix
from pipeline.sources.labels import listing
from pipeline.sources.names import check_utf8, normal

# Files that video_features writes next to NAME_rgb.npy; they hold no features.
FPS, TIMES = "_fps", "_timestamps_ms"
COMPANIONS = (FPS, TIMES)
SHOWN = 5


class Named(NamedTuple):
    """A clip that needs a file: where it is listed, its id, and the file's name without suffix."""

    where: str
    clip_id: str
    stem: str


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


def named_by_id(
    folder: Path,
    stems: Collection[str],
    ids: Sequence[tuple[str, str]],
    suffix: str | None,
) -> tuple[list[Named], list[str]]:
    """Return clips with the names of their files: the id and a suffix that they share.

    Parameters
    ----------
    folder : Path
    stems : collection of str
    ids : sequence of tuple of str
        Where each clip is listed, and its id.
    suffix : str or None
        Suffix after the clip id in file names, such as ``_rgb``; by default the most common one.

    Returns
    -------
    named : list of Named
    others : list of str
        Names of the files with other suffixes that every clip has.
    """
    if set(stems).isdisjoint(clip_id for _, clip_id in ids):  # feature files lack the extension
        ids = [(where, without_suffix(clip_id)) for where, clip_id in ids]
    names = [clip_id for _, clip_id in ids]
    suffix, others = choose_suffix(folder, names, stems, suffix)
    named = [Named(where, clip_id, f"{clip_id}{suffix}") for where, clip_id in ids]
    return named, [f"{name}{other}" for name in names for other in others]


def find_files(
    folder: Path, stems: dict[str, Path], clips: Sequence[Named], *, allow_missing: bool = False
) -> tuple[list[ClipFile | None], list[str]]:
    """Return the file of every clip.

    Parameters
    ----------
    folder : Path
    stems : dict of str to Path
    clips : sequence of Named
    allow_missing : bool
        Return None for clips without a file.

    Returns
    -------
    files : list of ClipFile or None
        One per clip.
    notes : list of str
        The number of clips without a file.

    Raises
    ------
    InputError
        If a file is missing, or two clips have the same file.
    """
    paths = [_path_of(folder, stems, clip.stem) for clip in clips]
    notes = _check_there(clips, paths, stems, allow_missing=allow_missing)
    _check_unique(clips, paths)
    listed = {clip.stem for clip in clips}
    files = [
        ClipFile(clip.clip_id, path, _times_of(stems, clip, listed)) if path.exists() else None
        for clip, path in zip(clips, paths, strict=True)
    ]
    return files, notes


def skip_unlisted(
    labels: Path, stems: Collection[str], listed: Collection[str], *, allow: bool
) -> list[str]:
    """Return a note on the files that no clip is listed with, and refuse them unless allowed.

    Raises
    ------
    InputError
    """
    unlisted = [
        stem
        for stem in stems
        if stem not in listed
        and not stem.endswith(COMPANIONS)
        and stem.rpartition("/")[0] not in listed  # a step of a clip
    ]
    if unlisted and not allow:
        raise InputError(
            f"{len(unlisted)} files have no row in {labels}: {listing(unlisted, SHOWN)}; add rows, "
            "or skip these files with --allow-unlisted."
        )
    return [f"skipped: {count_of(len(unlisted), 'file')} without a row"] if unlisted else []


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


def _path_of(folder: Path, stems: dict[str, Path], stem: str) -> Path:
    """Return the file of a clip, or its folder with one file per step."""
    if stem in stems:
        return stems[stem]
    return folder / stem if (folder / stem).is_dir() else folder / f"{stem}{NPY}"


def _check_there(
    clips: Sequence[Named], paths: Sequence[Path], stems: Collection[str], *, allow_missing: bool
) -> list[str]:
    missing = [(c, path) for c, path in zip(clips, paths, strict=True) if not path.exists()]
    if not missing:
        return []
    if allow_missing and len(missing) < len(clips):
        return [f"skipped: {len(missing)} of {len(clips)} clips without a file"]
    clip, path = missing[0]
    names = listing([file.name for _, file in missing], SHOWN)
    features = [stem for stem in stems if not stem.endswith(COMPANIONS)] or stems
    near = nearest_name(path.name.removesuffix(NPY), features)
    hint = f"; the nearest file is {near}{NPY}" if near else ""
    raise InputError(
        f"{clip.where}: {path} does not exist{hint}. Missing are {len(missing)} of {len(clips)} "
        f"files: {names}; correct the names, or skip these clips with --allow-missing."
    )


def _check_unique(clips: Sequence[Named], paths: Sequence[Path]) -> None:
    seen: dict[Path, Named] = {}
    for clip, path in zip(clips, paths, strict=True):
        first = seen.setdefault(path, clip)
        if first is not clip:
            raise InputError(
                f"{first.where} and {clip.where} both have {path.name}; remove one, or save "
                "each clip to a separate file."
            )


def _times_of(stems: dict[str, Path], clip: Named, listed: Collection[str]) -> Path | None:
    for base in (clip.clip_id, clip.stem, clip.stem.rpartition("_")[0]):
        name = f"{base}{TIMES}"
        if name in stems and name not in listed:
            return stems[name]
    return None
