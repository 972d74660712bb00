"""Which wheels are collected for a GPU machine, and how many bytes are refused."""

from pathlib import Path
from types import ModuleType

import pytest

from tests.folders import ROOT

DOWNLOADED = {"av-18.1.0-cp311-abi3-x.whl": 300, "numpy-2.4.6-cp312-x.whl": 200}
DOWNLOADED |= {"scikit_learn-1.9.1-cp312-x.whl": 100, "zarr-3.1.6-py3-none-any.whl": 50}


@pytest.fixture
def wheels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu_wheels

    def download(names: list[str], folder: Path, python: str) -> None:
        for name, size in DOWNLOADED.items():
            (folder / name).write_bytes(bytes(size))

    monkeypatch.setattr(gpu_wheels, "download", download)
    monkeypatch.setattr(gpu_wheels, "MEBIBYTE", 1)
    return gpu_wheels


def test_what_the_machine_has_is_left_out(
    wheels: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheels.main(["--out", str(tmp_path / "w"), "--have", "scikit-learn", "--most", "350"])
    pins = (tmp_path / "w" / "requirements.txt").read_text().split()
    assert pins == ["av==18.1.0", "zarr==3.1.6"]
    assert len(list((tmp_path / "w").glob("*.whl"))) == 2
    assert capsys.readouterr().out.startswith("2 wheels, 350.0 MiB")


def test_too_many_bytes_are_refused(wheels: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"take 450 MiB, and the limit is 350.*--have.*av, scikit"):
        wheels.main(["--out", str(tmp_path / "w"), "--most", "350"])
    assert not (tmp_path / "w").exists()


def test_everything_that_both_stages_need_is_asked_for(wheels: ModuleType) -> None:
    names = {wheels.normal(one) for one in wheels.requirements()}
    assert {"av", "zarr", "h5py", "numcodecs", "click", "pydantic", "pyyaml", "scipy"} <= names
    assert {"pytest", "torchcodec", "torch", "numpy"} <= names
    assert wheels.normal("annotated_types>=0.6,<1") == "annotated-types"
