from pathlib import Path

import pytest

from featstore.errors import InputError
from pipeline.runs.groups import read_group
from tests.runs import rights, write_run


@pytest.mark.parametrize("text", ["{0},", ",{0}", "{0},,{1}", ""])
def test_a_comma_beside_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)  # runs lie in the current folder, which "" would mean
    for name in "ab":
        write_run(Path(name), rights(30, share=0.5, seed=0))
    with pytest.raises(InputError, match="empty name before or after a comma"):
        read_group(text.format("a", "b"), "test")
    assert read_group(".", "test").runs == 2


@pytest.mark.parametrize("text", ["{0}/a,{0}/a", "{0}/a,{0}/b/../a", "{0},{0}/a"])
def test_a_run_named_twice_is_refused(tmp_path: Path, text: str) -> None:
    for name in "ab":
        write_run(tmp_path / name, rights(30, share=0.5, seed=0))
    with pytest.raises(InputError, match=r"/a.*once"):
        read_group(text.format(tmp_path), "test")


def test_a_comma_in_the_name_of_a_folder(tmp_path: Path) -> None:
    for name in ("a,b", "c"):
        write_run(tmp_path / "x,y" / name, rights(30, share=0.5, seed=0))
    folders = [tmp_path / "x,y" / name for name in ("a,b", "c")]
    assert read_group(folders, "test").runs == 2
    assert read_group(str(tmp_path / "x,y"), "test").runs == 2
    assert read_group(str(folders[0]), "test").runs == 1
