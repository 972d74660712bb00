"""Write predictions: tables of windows and segments, subtitles; and read kept predictions."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from zipfile import BadZipFile

import numpy as np

from featstore.errors import InputError, MissingPackageError
from featstore.format.files import replacing
from featstore.text import as_cell, of_cell, visible
from pipeline.option_values import one_of
from pipeline.predict.recording import Predicted
from pipeline.predict.segments import Segment
from pipeline.predict.windows import Windows

Format = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
Row = Mapping[str, Any]
NONE = np.zeros(0, np.float32)
TEXTS = ("recording", "label", "gap", "clip", "video", "part", "prediction")


@dataclass(frozen=True, slots=True)
class Kept:
    """The predictions for one recording, as they are kept between runs of the command.

    Attributes
    ----------
    key : str
        Hash of everything that decides them.
    recording : str
    finish : float
        Seconds at which the recording ends.
    predicted : Predicted
    """

    key: str
    recording: str
    finish: float
    predicted: Predicted


def keep(path: Path, kept: Kept) -> None:
    """Write the predictions for one recording, atomically."""
    windows = kept.predicted.windows
    facts = {"key": kept.key, "recording": kept.recording, "finish": kept.finish}
    facts["gaps"] = {str(number): reason for number, reason in kept.predicted.gaps.items()}
    attention = [kept.predicted.attention.get(each, NONE) for each in range(len(windows))]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            facts=np.array(json.dumps(facts)),
            log_probabilities=kept.predicted.log_probabilities,
            attention=np.concatenate([NONE, *attention]),
            attention_steps=np.array([len(weights) for weights in attention], np.int64),
            **{name: getattr(windows, name) for name in ("start", "stop", "begin", "end")},
        )


def read_kept(path: Path) -> Kept | None:
    """Read kept predictions; None if there are none, or the file is damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            windows = Windows(
                start=arrays["start"],
                stop=arrays["stop"],
                begin=arrays["begin"],
                end=arrays["end"],
                inputs=np.zeros((0, 1), np.int64),
                rows=[],
                counts=np.zeros(0),
            )
            gaps = {int(number): reason for number, reason in facts["gaps"].items()}
            weights = np.split(arrays["attention"], np.cumsum(arrays["attention_steps"])[:-1])
            attention = {number: each for number, each in enumerate(weights) if len(each)}
            predicted = Predicted(windows, arrays["log_probabilities"], gaps, attention)
            return Kept(facts["key"], facts["recording"], facts["finish"], predicted)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def window_rows(kept: Kept, classes: Sequence[str]) -> Iterator[Row]:
    """Yield a row for each window: its interval, its class, and the probability of each class."""
    windows, logs = kept.predicted.windows, kept.predicted.log_probabilities
    for number in range(len(windows)):
        gap = kept.predicted.gaps.get(number, "")
        probabilities = [None] * len(classes) if gap else np.exp(logs[number]).tolist()
        label = None if gap else int(np.argmax(logs[number]))
        yield {
            "recording": kept.recording,
            "start": float(windows.begin[number]),
            "end": float(windows.end[number]),
            "start_frame": int(windows.start[number]),
            "end_frame": int(windows.stop[number]),
            "label": "" if label is None else classes[label],
            "probability": None if label is None else probabilities[label],
            "gap": gap,
            **{f"p:{name}": value for name, value in zip(classes, probabilities, strict=True)},
        }


def segment_rows(recording: str, segments: Iterable[Segment], classes: Sequence[str]) -> list[Row]:
    """Return a row for each segment."""
    return [
        {
            "recording": recording,
            "start": segment.begin,
            "end": segment.end,
            "label": classes[segment.label],
            "probability": segment.probability,
        }
        for segment in segments
    ]


def check_format(form: str) -> None:
    """Refuse a format that is unknown, or that needs a package that is not installed.

    Raises
    ------
    InputError, MissingPackageError
    """
    one_of("format", form, FORMATS)
    if form == "parquet":
        try:
            import pyarrow  # noqa: F401
        except ModuleNotFoundError:
            raise MissingPackageError(
                "--format is parquet, which needs pyarrow: pip install pyarrow, or give --format "
                "csv or jsonl."
            ) from None


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Row], form: str) -> None:
    """Write a table atomically; rows are written as they come.

    Parameters
    ----------
    path : Path
        Its suffix becomes that of the format.
    columns : sequence of str
        For a table without rows.
    rows : iterable of mapping
    form : {"csv", "jsonl", "parquet"}
    """
    with replacing(path.with_suffix(f".{form}")) as temporary:
        if form == "parquet":
            _write_parquet(temporary, columns, rows)
            return
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            if form == "jsonl":
                stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                return
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow([as_cell(name) for name in columns])
            writer.writerows([_cell(row[name]) for name in columns] for row in rows)


def read_table(out: Path, name: str) -> list[dict[str, Any]]:
    """Read the table ``windows``, ``segments`` or ``clips`` of a folder, in any format.

    Raises
    ------
    InputError
        If there is none.
    """
    path = next((p for form in FORMATS if (p := out / f"{name}.{form}").is_file()), None)
    if path is None:
        raise InputError(f"{out} has no table of {name}; run `featstore predict` first.")
    if path.suffix == ".parquet":
        from pyarrow import parquet

        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return rows
    with path.open(encoding="utf-8", newline="") as stream:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in stream]
        return [
            {of_cell(k): _value(k, v) for k, v in row.items()} for row in csv.DictReader(stream)
        ]


def _value(column: str, cell: str) -> Any:
    """Return the value of a cell of a CSV table."""
    if column in TEXTS:
        return of_cell(cell)
    if not cell:
        return None
    return int(cell) if column.endswith("_frame") else float(cell)


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6f}"
    return as_cell(value) if isinstance(value, str) else value


def _write_parquet(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    import pyarrow
    from pyarrow import parquet

    # Stated, as a column without values has no type of its own.
    schema = pyarrow.schema([(name, _type_of(name, pyarrow)) for name in columns])
    parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema=schema), path)


def _type_of(column: str, pyarrow: Any) -> Any:
    if column in TEXTS:
        return pyarrow.string()
    return pyarrow.int64() if column.endswith("_frame") else pyarrow.float64()


def subtitles(segments: Iterable[Segment], classes: Sequence[str]) -> str:
    """Return segments as WebVTT (https://www.w3.org/TR/webvtt1/): label and probability.

    Examples
    --------
    >>> print(subtitles([Segment(0.0, 3661.5, 0, 0.91)], ["drink & eat"]))
    WEBVTT
    <BLANKLINE>
    00:00:00.000 --> 01:01:01.500
    drink &amp; eat 91 %
    <BLANKLINE>
    """
    cues = [
        f"{_clock(one.begin)} --> {_clock(one.end)}\n"
        f"{_cue(classes[one.label])} {100 * one.probability:.0f} %\n"
        for one in segments
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _clock(seconds: float) -> str:
    thousandths = round(1000 * seconds)
    minutes, rest = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _cue(text: str) -> str:
    plain = visible(text).replace("&", "&amp;")
    return plain.replace("<", "&lt;").replace(">", "&gt;")


def write_text(path: Path, text: str) -> None:
    """Write a text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


def check_folder(out: Path) -> None:
    """Refuse a place for outputs that is not a folder.

    Raises
    ------
    InputError
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out is {out}, which is a file; give a folder.")
