"""Rows that another store has are copied, and give the bytes that extraction gives."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featstore import InputError, Store
from featstore.format import layout
from featstore.writing.writer import StoreWriter
from pipeline.build.extract.backbone import Forward, batch_shape, numerics
from pipeline.build.extract.extractor import Extractor
from pipeline.build.extract.statistics import Statistics
from tests.builds import ROWS, build, options_of, plan_of, row, write_dataset
from tests.pipeline.build.test_build import checksums
from tests.videos import GOP_8, textured, write_table, write_video

FIXED: dict[str, Any] = {"normalise": "0.4,0.2"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data")


def again(data: Path, root: Path, **more: Any) -> tuple[Store, list[str]]:
    lines: list[str] = []
    return build(options_of(data, root, **(FIXED | more)), lines.append), lines


def same_as_extracted(store: Store, data: Path, elsewhere: Path, **more: Any) -> None:
    fresh, _ = again(data, elsewhere, **more)
    assert fresh.key == store.key
    assert checksums(fresh.path) == checksums(store.path)


CHANGES = {
    "label": [{**ROWS[0], "label": "c"}, *ROWS[1:]],
    "subject": [*ROWS[:-1], {**ROWS[-1], "subject": "somebody"}],
    "other split": [
        {**own, "split": part, "subject": f"of {part}"}
        for own, part in zip(ROWS, ("val", "val", "val", "train", "test"), strict=True)
    ],
    "fewer clips": ROWS[2:],
}


@pytest.mark.parametrize(
    ("change", "chunk_rows"), list(zip(CHANGES, [7, 1000, 7, 1000], strict=True))
)
def test_what_is_no_feature_is_copied_whole(
    tmp_path, data, change: str, chunk_rows: int, computed, monkeypatch
) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 512 * chunk_rows)
    first, _ = again(data, tmp_path / "features")
    computed.clear()
    write_table(data, CHANGES[change])
    store, lines = again(data, tmp_path / "features")
    assert store.key != first.key
    assert computed == []
    copied = f"copied: {len(store)} clips ({store.row_size.sum()} steps) from {first.path.name}"
    assert copied in lines
    same_as_extracted(store, data, tmp_path / "elsewhere")


@pytest.mark.parametrize("chunk_rows", [3, 1000])
def test_more_videos_and_intervals_are_computed_alone(
    tmp_path, data, chunk_rows: int, computed, monkeypatch
) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 512 * chunk_rows)
    again(data, tmp_path / "features")
    computed.clear()
    write_video(data.parent / "more.mp4", textured(9, seed=8), options=GOP_8)
    rows = [*ROWS, row("more.mp4", 2, 9, "train"), row("val.mkv", 5, 20, "val")]
    write_table(data, rows)
    store, lines = again(data, tmp_path / "features")
    assert sum(computed) == 7 + 15
    assert any(line.startswith("copied: 5 clips (66 steps)") for line in lines)
    same_as_extracted(store, data, tmp_path / "elsewhere")


def test_another_class_list_is_copied(tmp_path, data, computed) -> None:
    again(data, tmp_path / "features")
    computed.clear()
    data.with_name("classes.txt").write_text("b\na\nnever\n")
    store, _ = again(data, tmp_path / "features", source={"classes": data.with_name("classes.txt")})
    assert store.classes == ("b", "a", "never")
    assert computed == []


def test_statistics_of_another_split_are_other_features(tmp_path, data, computed) -> None:
    first = build(options_of(data, tmp_path / "features"))
    computed.clear()
    write_table(data, CHANGES["other split"])
    store = build(options_of(data, tmp_path / "features"))
    assert sum(computed) == store.row_size.sum()
    write_table(data, CHANGES["label"])  # the same training clips
    computed.clear()
    store = build(options_of(data, tmp_path / "features"))
    assert computed == []
    assert store.attributes["statistics"] == first.attributes["statistics"]


def test_another_configuration_is_not_copied(tmp_path, data, computed) -> None:
    again(data, tmp_path / "features")
    for more in ({"size": 40}, {"weights": "random:1"}, {"normalise": "0.4,0.3"}):
        computed.clear()
        store, lines = again(data, tmp_path / "features", **more)
        assert sum(computed) == store.row_size.sum()
        assert not any("copied" in line for line in lines)


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_damaged_rows_are_computed(tmp_path, data, damage: str, computed, monkeypatch) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 512 * 8)  # pages, so it is mapped
    first, _ = again(data, tmp_path / "features")
    computed.clear()
    chunk = first.path / "features/c/0/0"  # rows 0 to 8 of the 24 of test.avi
    content = bytearray(chunk.read_bytes())
    content[1000] ^= 1
    chunk.write_bytes(content) if damage == "flipped" else chunk.unlink()
    write_table(data, CHANGES["label"])
    store, lines = again(data, tmp_path / "features")
    assert sum(computed) == 24
    [line] = [line for line in lines if "are not copied" in line]
    assert line.startswith(f"1 clips are not copied: {first.path}")
    same_as_extracted(store, data, tmp_path / "elsewhere")


def test_rows_computed_otherwise_are_copied_only_on_request(
    tmp_path, data, computed, monkeypatch
) -> None:
    first, _ = again(data, tmp_path / "features")
    computed.clear()
    write_table(data, CHANGES["label"])
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX77")
    known = first.attributes["numerics"]["cpu_capability"]
    root = tmp_path / "features"
    store, lines = again(data, root)
    assert sum(computed) == store.row_size.sum()
    [line] = [line for line in lines if "are not copied" in line]
    assert f"cpu_capability: {known} -> AVX77" in line
    shutil.rmtree(store.path)
    computed.clear()
    mixed, _ = again(data, root, allow_mixed_numerics=True)
    assert computed == []
    np.testing.assert_array_equal(mixed[0], first[0])


def test_mixed_rows_stay_marked(tmp_path, data, computed, monkeypatch) -> None:
    first, _ = again(data, tmp_path / "features")
    root = tmp_path / "features"
    write_table(data, CHANGES["label"])
    with monkeypatch.context() as patch:
        patch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX77")
        mixed, _ = again(data, root, allow_mixed_numerics=True)
        marks = mixed.attributes["mixed_numerics"]
        known = first.attributes["numerics"]["cpu_capability"]
        assert marks == [f"cpu_capability: {known} -> AVX77"]
        (mixed.path / "label/c/0").unlink()
        mended, _ = again(data, root, repair=True)
        assert mended.attributes["mixed_numerics"] == marks
    shutil.rmtree(first.path)
    write_table(data, CHANGES["subject"])
    computed.clear()
    with monkeypatch.context() as patch:
        patch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX77")
        third, lines = again(data, root)
    assert sum(computed) == third.row_size.sum()
    assert any("are not copied" in line and "cpu_capability" in line for line in lines)


def test_rows_that_depend_on_their_place_are_not_copied(tmp_path, data, computed, monkeypatch):
    again(data, tmp_path / "features")
    write_table(data, CHANGES["label"])
    monkeypatch.setattr(Extractor, "depends_on_place", lambda self: {"depends_on_place": True})
    computed.clear()
    store, lines = again(data, tmp_path / "features")
    assert sum(computed) == store.row_size.sum()
    assert any("are not copied" in line for line in lines)


def test_the_probe_finds_a_backbone_that_depends_on_the_place(tmp_path, data) -> None:
    plan = plan_of(options_of(data, tmp_path / "features", **FIXED))

    class Uneven(torch.nn.Module):
        channels = 1

        def forward(self, x):
            return x.mean(dim=(2, 3)) + torch.arange(len(x))[:, None] // 7 * 1e-6

    class Even(torch.nn.Module):
        channels = 1

        def forward(self, x):
            return x.mean(dim=(2, 3))

    for backbone, found in ((Uneven(), {"depends_on_place": True}), (Even(), {})):
        statistics = Statistics(mean=(0.4,), std=(0.2,), origin="fixed")
        cpu = torch.device("cpu")
        facts = numerics(cpu, batch_shape(plan.extraction, cpu, 1))
        forward = Forward(backbone, plan.extraction, cpu, 1, facts)
        extractor = Extractor(forward, plan.videos, statistics)
        assert extractor.depends_on_place() == found


def test_going_on_with_other_numerics_is_refused(tmp_path, data, monkeypatch) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 512 * 2)
    root = tmp_path / "features"

    def fails(self) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "seal", fails)
        with pytest.raises(OSError, match="No space"):
            again(data, root)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX77")
    with pytest.raises(InputError, match=r"cpu_capability: \w+ -> AVX77.*--allow-mixed-numerics"):
        again(data, root)
    store, lines = again(data, root, allow_mixed_numerics=True)
    assert "resuming after 33 of 33 finished units" in lines
    [mixed] = store.attributes["mixed_numerics"]
    assert re.fullmatch(r"cpu_capability: \w+ -> AVX77", mixed)


def test_a_store_in_another_format_is_converted(tmp_path, data, computed) -> None:
    first, _ = again(data, tmp_path / "features")
    computed.clear()
    packed, lines = again(data, tmp_path / "features", format="hdf5")
    assert (packed.key, packed.path) == (first.key, first.path.with_suffix(".h5"))
    assert computed == []
    assert any("nothing to extract" in line for line in lines)
    for one, other in zip(first, packed, strict=True):
        np.testing.assert_array_equal(one, other)
    assert again(data, tmp_path / "features", format="hdf5")[1] == []
