import errno
import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

from featstore.errors import BusyError, InputError
from featstore.writing.locks import open_lock
from pipeline.runs import folder as run
from pipeline.runs.files import read_metrics, read_predictions, write_csv, write_json
from pipeline.runs.folder import new_run
from tests.runs import METRICS, PART


def test_run_appears_whole_with_its_parents(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "one"
    with new_run(out, {}) as folder:
        (folder / "a").write_text("a")
        assert not out.exists()
    assert (out / "a").read_text() == "a"
    assert list(out.parent.iterdir()) == [out]


def test_failed_run_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with new_run(tmp_path / "one", {}) as folder:
            (folder / "a").write_text("a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_empty_folder_is_taken_and_a_full_one_refused(tmp_path: Path) -> None:
    with new_run(tmp_path / "one", {}) as folder:
        (tmp_path / "one").mkdir()
        (folder / "a").write_text("a")
    with pytest.raises(InputError, match="not an empty folder"), new_run(tmp_path / "one", {}):
        pass
    assert (tmp_path / "one" / "a").exists()


@pytest.mark.parametrize("out", ["", ".", "./", "..", "new/..", "/", "{here}"])
def test_the_current_folder_is_refused_before_anything_is_made(
    tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = Path(out.format(here=tmp_path))
    with pytest.raises(InputError, match="cannot replace the current folder"), new_run(named, {}):
        pytest.fail("trained to the end")
    assert not list(tmp_path.iterdir())


def test_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="be created"), new_run(tmp_path / "file" / "one", {}):
        pass


def test_json_is_strict_and_unchanged(tmp_path: Path) -> None:
    value = {
        "a": float("nan"),
        "b": [{"c": float("nan")}, {}],
        "d": [[1, 2], [3]],
        "e": {},
        "f": [],
    }
    write_json(tmp_path / "x.json", value | {"g": "ä\n[ ]"})
    text = (tmp_path / "x.json").read_text("utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": None,
        "b": [{"c": None}, {}],
        "d": [[1, 2], [3]],
        "e": {},
        "f": [],
        "g": "ä\n[ ]",
    }
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "y.json", {"a": float("inf")})


def test_csv_quotes_names(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", [{"name": "a, b", "value": 1 / 3}])
    assert (tmp_path / "x.csv").read_text() == 'name,value\n"a, b",0.333333\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "not a run"), ("{", "cannot be read"), ("[]", "cannot be read"), ("{}", "lacks")],
)
def test_folders_that_are_no_run(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_metrics(tmp_path)


PREDICTED = "clip,part,label,prediction,probability\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (f"{PREDICTED}ä,val,a,b,0.5\n".encode("latin-1"), "can't decode"),
        (f"{PREDICTED}{'x' * 200_000},val,a,b,0.5\n".encode(), "field larger"),
        (b"clip,label,prediction,probability\nx,a,b,0.5\n", "rows lack part;"),
        (f"{PREDICTED}x,val,a,b,0.5\ny,test,a".encode(), "rows lack prediction, probability;"),
    ],
)
def test_predictions_that_are_none(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "predictions.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_predictions(tmp_path)
    (tmp_path / "predictions.csv").write_text(f"{PREDICTED}x,val,a,b,0.5\n")
    assert [row["part"] for row in read_predictions(tmp_path)] == ["val"]


def test_locks_work_where_a_descriptor_for_reading_cannot_be_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = fcntl.flock

    def over_nfs(descriptor: int, kind: int) -> None:
        mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        if kind & fcntl.LOCK_EX and mode == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        plain(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", over_nfs)
    with run.new_run(tmp_path / "run", {}) as folder:
        (folder / "file").write_text("1")
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "file"]


@pytest.mark.parametrize("what", ["folder", "lock"])
def test_an_unfinished_run_follows_no_link(tmp_path: Path, what: str) -> None:
    other = tmp_path / "other"
    (other / "run").mkdir(parents=True)
    (other / "run" / "thesis").write_text("mine")
    unfinished = run.unfinished_of(tmp_path / "out")
    if what == "folder":
        unfinished.symlink_to(other)
    else:
        unfinished.mkdir()
        (unfinished / run.LOCK).symlink_to(other / "run" / "thesis")
    with (
        pytest.raises(InputError, match=r"link|not a regular file"),
        run.new_run(tmp_path / "out", {}),
    ):
        pass
    run.remove_unfinished(tmp_path / "none")
    assert (other / "run" / "thesis").read_text() == "mine"
    assert [path.name for path in other.rglob("*")] == ["run", "thesis"]


def test_who_waits_for_a_run_that_ends_does_not_share_its_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with run.unfinished_folder(out, {}) as folder:
        waiting = open_lock(folder / run.LOCK)
        with pytest.raises(BusyError), run.locked(folder, out):
            pass
    os.close(waiting)
    assert not folder.exists()


def test_text_in_predictions_is_no_formula_and_reads_back(tmp_path: Path) -> None:
    labels = ["=1+1", "+a", "-b", "@c", "\td", "'=e", "'f", "g"]
    rows = [
        {"clip": label, "part": "test", "label": label, "prediction": label, "probability": 0.5}
        for label in labels
    ]
    write_csv(tmp_path / "predictions.csv", rows)
    written = (tmp_path / "predictions.csv").read_text("utf-8").splitlines()
    assert not any(line.startswith(("=", "+", "-", "@", "\t")) for line in written)
    assert [row["label"] for row in read_predictions(tmp_path)] == labels


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seconds": "x"}, "seconds"),
        ({"failed_clips": {"train": None}}, "failed_clips.train"),
        ({"val": {}}, "val.top1"),
        ({"test": {**PART, "confusion": [["x"]]}}, "test.confusion"),
        ({"test": {**PART, "confusion": [[0]]}}, "confusion does not match 0 classes"),
        ({"test": {**PART, "confusion": {"cells": [[0, 0, 1]]}}}, "does not match 0 classes"),
        ({"train": None}, "train"),
        ({"baseline": {}}, "baseline.name"),
        ({"concerns": [3]}, "concerns.0"),
    ],
)
def test_every_field_of_a_run_that_is_read_is_checked(
    tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    write_json(tmp_path / "metrics.json", {**METRICS, "store_key": "", "subjects_known": True})
    assert read_metrics(tmp_path)["seed"] == 0
    changed = {**METRICS, "store_key": "", "subjects_known": True, **change}
    write_json(tmp_path / "metrics.json", changed)
    with pytest.raises(InputError, match=rf"metrics\.json: .*{field}"):
        read_metrics(tmp_path)
