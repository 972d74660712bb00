"""Several stores in one decode: each store as it is when it is built alone."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import featstore
from featstore.errors import InputError
from featstore.manage.provenance import read_provenance
from pipeline.build.plan.build_plan import cache_of
from pipeline.build.together import (
    build_together,
    group_by_decode,
    share_decode,
    without_copies,
)
from pipeline.cli import main
from tests.builds import ROWS, build, options_of, plan_of, silent, stop_after, write_dataset

# Units of 8 and of 4 rows; frames of another size.
BACKBONES: tuple[dict[str, Any], ...] = (
    {"backbone": "mobilenet_v3_small", "size": 48},
    {"backbone": "squeezenet1_1", "fit": "crop"},
    {"backbone": "squeezenet1_1", "weights": "random:1", "features": "grid:2", "size": 64},
)


pytestmark = pytest.mark.usefixtures("small_chunks")


def together_in(folder: Path, data: Path, several: tuple[dict[str, Any], ...] = BACKBONES) -> Any:
    plans = [plan_of(options_of(data, folder, **more)) for more in several]
    assert share_decode(plans)
    cache = cache_of(folder)
    try:
        build_together(plans, cache, silent)
    finally:
        cache.close()
    return [featstore.open(plan.path, check=True) for plan in plans]


def files(store: featstore.Store) -> dict[str, Any]:
    return dict(store.attributes["seal"]["files"])


def test_each_store_has_the_bytes_that_it_has_alone(
    data: Path, tmp_path: Path, decoded: list[int]
) -> None:
    stores = together_in(tmp_path / "together", data)
    once = sum(decoded)
    decoded.clear()
    alone = [build(options_of(data, tmp_path / "alone", **more)) for more in BACKBONES]
    assert len({store.layout.chunk_rows for store in stores}) > 1
    for ours, theirs in zip(stores, alone, strict=True):
        assert ours.key == theirs.key
        assert files(ours) == files(theirs)
        assert ours.attributes["numerics"] == theirs.attributes["numerics"]
        assert read_provenance(ours.path)["frames_used"] > 0
    assert once < sum(decoded) / 2


def test_what_was_interrupted_resumes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as interrupted:
        stop_after(3, interrupted)
        with pytest.raises(KeyboardInterrupt):
            together_in(tmp_path / "a", data, BACKBONES[:2])
    resumed = together_in(tmp_path / "a", data, BACKBONES[:2])
    whole = together_in(tmp_path / "b", data, BACKBONES[:2])
    assert [files(store) for store in resumed] == [files(store) for store in whole]


def test_windows_and_frames_share_no_decode(data: Path, tmp_path: Path) -> None:
    several = ({"backbone": "r3d_18"}, {"backbone": "squeezenet1_1"}, {"backbone": "r3d_18"})
    plans = [plan_of(options_of(data, tmp_path, **more)) for more in several]
    assert not share_decode(plans[:2])
    assert group_by_decode(plans) == [[plans[0], plans[2]], [plans[1]]]


def test_other_clips_share_no_decode(data: Path, tmp_path: Path) -> None:
    fewer = write_dataset(tmp_path / "data", ROWS[1:])
    assert not share_decode([plan_of(options_of(one, tmp_path)) for one in (data, fewer)])


def test_plans_with_equal_features_are_computed_once(data: Path, tmp_path: Path) -> None:
    relabelled = write_dataset(tmp_path / "data", [*ROWS[:-1], {**ROWS[-1], "label": "b"}])
    for normalise, count in (("0.4,0.2", 1), ("split", 2)):
        plans = [
            plan_of(options_of(one, tmp_path, normalise=normalise)) for one in (data, relabelled)
        ]
        assert without_copies(plans) == plans[:count]


def test_rows_that_are_copied_are_not_decoded(
    data: Path, tmp_path: Path, decoded: list[int]
) -> None:
    fixed = tuple({**more, "normalise": "0.4,0.2"} for more in BACKBONES[1:])
    relabelled = write_dataset(tmp_path / "data", [*ROWS[:-1], {**ROWS[-1], "label": "b"}])
    first = together_in(tmp_path / "a", relabelled, fixed[:1])
    decoded.clear()
    stores = together_in(tmp_path / "a", data, fixed)
    assert (stores[0][0] == first[0][0]).all()
    assert sum(decoded) > 0


def test_the_command_builds_a_store_for_each_backbone(data: Path, tmp_path: Path) -> None:
    flags = ["build", "--source", "table", "--data", str(data), "--stores", str(tmp_path)]
    flags += ["--pixels", "luma", "--size", "32", "--device", "cpu", "--workers", "1"]
    pair = ["--backbone", "squeezenet1_1", "--backbone", "resnet18"]
    for _ in range(2):
        done = CliRunner().invoke(main, [*flags, *pair, "--weights", "random"])
        assert done.exit_code == 0, done.output
        lines = done.stdout.splitlines()[-2:]
        assert ["squeezenet1_1" in line for line in lines] == [True, False]
    wrong = CliRunner().invoke(main, [*flags, *pair, *["--weights", "random"] * 3])
    assert wrong.exit_code == 2
    assert "3 times" in wrong.output
    assert "one decode for 2 stores" not in done.output


def test_one_file_of_weights_is_not_for_two_backbones(data: Path) -> None:
    from pipeline.cli.build import _backbones

    with pytest.raises(InputError, match=r"x\.pth"):
        _backbones(("resnet18", "resnet50"), ("x.pth",))
