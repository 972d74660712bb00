from pathlib import Path

import pytest

from featstore.errors import InputError
from pipeline.groups import read_group
from tests.runs import rights, write_run


@pytest.mark.parametrize("text", ["{0},", ",{0}", "{0},,{1}", ""])
def test_a_comma_beside_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)  # runs lie in the current folder, which "" would mean
    for name in "ab":
        write_run(Path(name), rights(30, share=0.5, seed=0))
    with pytest.raises(InputError, match="nothing before or after a comma"):
        read_group(text.format("a", "b"), "test")
    assert read_group(".", "test").runs == 2


@pytest.mark.parametrize("text", ["{0}/a,{0}/a", "{0}/a,{0}/b/../a", "{0},{0}/a"])
def test_a_run_named_twice_is_refused(tmp_path: Path, text: str) -> None:
    for name in "ab":
        write_run(tmp_path / name, rights(30, share=0.5, seed=0))
    with pytest.raises(InputError, match=r"names .*/a more than once"):
        read_group(text.format(tmp_path), "test")


def test_predictions_that_are_none(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a", rights(30, share=0.5, seed=0)) / "predictions.csv"
    whole = path.read_text("utf-8")
    path.write_text(whole.replace("clip,part,", "clip,piece,"))
    with pytest.raises(InputError, match=r"a/predictions\.csv: lacks the column part"):
        read_group(str(path.parent), "test")
    path.write_text(whole + "clip9999,test\n")
    with pytest.raises(InputError, match="lacks the column label, prediction in some row"):
        read_group(str(path.parent), "test")
    path.write_bytes(whole.replace("sit", "s\xeft").encode("latin-1"))
    with pytest.raises(InputError, match=r"a/predictions\.csv: cannot be read .*utf-8"):
        read_group(str(path.parent), "test")
    path.write_text(whole.replace("0.5", "x" * 200_000, 1))
    with pytest.raises(InputError, match=r"a/predictions\.csv: cannot be read .*limit"):
        read_group(str(path.parent), "test")
