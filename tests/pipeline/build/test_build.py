import hashlib
import os
import re
import shutil
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from featstore.errors import BusyError, InputError
from featstore.format import layout, schema
from featstore.writing import writer
from featstore.writing.locks import writer_lock
from models.backbones import build_backbone
from pipeline.video import decoders
from pipeline.video.decode import decode
from tests.builds import FRAMES, ROWS, build, options_of, plan_of, row, write_dataset
from tests.videos import textured, write_images, write_table, write_video


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data")


def checksums(store: Path) -> dict[str, str]:
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }


def nothing_built(root: Path) -> bool:
    """Whether a folder holds no store, finished or not."""
    return not [path for path in root.glob("*") if ".zarr" in path.name]


def sealed_stores(root: Path) -> list[Path]:
    """What can be opened in a folder of stores."""
    return list(root.glob("*.zarr"))


class TestBytes:
    def test_are_the_same_for_any_workers_and_folder(self, tmp_path, data, monkeypatch) -> None:
        monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 512 * 8)
        stores = [
            build(options_of(data, tmp_path / name, workers=workers))
            for name, workers in (("one", 1), ("four", 4), ("again", 1))
        ]
        first, *others = (checksums(store.path) for store in stores)
        assert len([name for name in first if name.startswith("features/c/")]) > 3
        assert others == [first, first]
        assert len({store.path.name for store in stores}) == 1

    def test_columns(self, tmp_path: Path, data: Path) -> None:
        store = build(options_of(data, tmp_path / "features"))
        expected = sorted(ROWS, key=lambda r: (r["video"], r["start"], r["end"]))
        for name, column in (
            ("video", store.videos),
            ("start", store.start),
            ("end", store.stop),
            ("split", store.splits),
            ("subject", store.subjects),
        ):
            assert column.tolist() == [r[name] for r in expected]
        assert [store.classes[label] for label in store.labels] == [r["label"] for r in expected]
        assert all(np.isfinite(rows).all() for rows in store)
        assert store.attributes["clips"] == {"train": 3, "val": 1, "test": 1}
        assert store.attributes["untrained"] is True


KEPT = {"workers": 3, "batch_size": 3, "device": "auto"}
CHANGED = {
    "size": 48,
    "fit": "crop",
    "fps": Fraction(10),
    "normalise": "0.4,0.2",
    "pixels": "rgb",
    "weights": "random:1",
    "backbone": "mobilenet_v3_small",
    "min_frames": 4,
}


class TestKey:
    @pytest.fixture
    def key(self, tmp_path: Path, data: Path):
        return lambda **more: plan_of(options_of(data, tmp_path / "features", **more)).key

    @pytest.mark.parametrize("name", KEPT)
    def test_how_it_is_computed_does_not_matter(self, key, name: str) -> None:
        assert key(**{name: KEPT[name]}) == key()

    @pytest.mark.parametrize("name", CHANGED)
    def test_what_is_computed_does(self, key, name: str) -> None:
        assert key(**{name: CHANGED[name]}) != key()

    def test_order_of_rows_and_times_of_files_do_not_matter(self, key, data: Path) -> None:
        before = key()
        write_table(data, ROWS[::-1])
        for path in data.parent.iterdir():
            os.utime(path, (1, 1))
        assert key() == before

    @pytest.mark.parametrize(
        "change",
        [
            {"label": "b"},
            {"subject": "of test", "split": "test"},
            {"subject": "another"},
            {"start": 1},
            {"end": 11},
        ],
        ids=["label", "split", "subject", "start", "end"],
    )
    def test_clips_matter(self, key, data: Path, change: dict) -> None:
        before = key()
        write_table(data, [ROWS[0] | change, *ROWS[1:]])
        assert key() != before

    def test_class_list_matters(self, key, data: Path) -> None:
        found = {key()}
        for names in ("a\nb\nc\n", "b\na\n"):
            data.with_name("classes.txt").write_text(names)
            found.add(key(source={"classes": data.with_name("classes.txt")}))
        assert len(found) == 3
        data.with_name("classes.txt").write_text("a\nb\n")
        assert key(source={"classes": data.with_name("classes.txt")}) == key()

    @pytest.mark.parametrize("part", ["train.mp4", "val.mkv", "test.avi"])
    def test_content_of_videos_matters(self, key, data: Path, part: str) -> None:
        before = key()
        codec = {".mp4": "libx264", ".mkv": "ffv1", ".avi": "mpeg4"}[part[-4:]]
        write_video(data.parent / part, textured(FRAMES, seed=77), codec=codec)
        assert key() != before

    def test_content_of_images_matters_and_other_files_do_not(self, tmp_path: Path, key) -> None:
        folder = write_images(tmp_path / "images", textured(9))
        rows = [row("../images", 0, 9, "train"), *ROWS[3:]]
        write_table(tmp_path / "data" / "clips.csv", rows)
        before = key()
        (folder / ".thumbnails").mkdir()
        (folder / "notes.txt").write_text("seen on Monday")
        assert key() == before
        write_images(tmp_path / "other", textured(9, seed=9))
        shutil.copy(tmp_path / "other" / "frame_0003.png", folder / "frame_0003.png")
        assert key() != before

    def test_content_of_weights_matters_and_their_name_does_not(self, tmp_path, key) -> None:
        keys = []
        for name, seed in (("a", 1), ("b", 2), ("c", 1)):
            tensors = build_backbone("squeezenet1_1", seed).network.state_dict()
            save_file(tensors, tmp_path / f"{name}.safetensors")
            keys.append(key(weights=str(tmp_path / f"{name}.safetensors")))
        assert keys[0] == keys[2]
        assert keys[0] != keys[1]

    def test_moved_data_find_their_store(self, tmp_path: Path, data: Path) -> None:
        store = build(options_of(data, tmp_path / "features"))
        moved = tmp_path / "elsewhere" / "renamed"
        moved.parent.mkdir()
        data.parent.rename(moved)
        plan = plan_of(options_of(moved / "clips.csv", tmp_path / "features"))
        assert (plan.key, plan.path, plan.built) == (store.key, store.path, True)


class TestFailure:
    def corrupt(self, path: Path) -> None:
        """Damage a video's pictures, not its index, in the middle."""
        content = bytearray(path.read_bytes())
        half = len(content) // 2
        content[half : half + len(content) // 8] = bytes(len(content) // 8)
        path.write_bytes(content)

    @pytest.mark.parametrize(("normalise", "kept"), [("split", False), ("0.4,0.2", True)])
    def test_corrupt_video_leaves_no_store(
        self, tmp_path, data, normalise: str, kept: bool, monkeypatch
    ) -> None:
        monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 512 * 2)
        self.corrupt(data.parent / "train.mp4")
        root = tmp_path / "features"
        lines: list[str] = []
        with pytest.raises(InputError, match=r"train\.mp4: frame \d+.*decode"):
            build(options_of(data, root, normalise=normalise), lines.append)
        assert sealed_stores(root) == []
        assert nothing_built(root) != kept
        if kept:  # of what lies before the damage
            found = re.match(r"(\d+) of 33 units are finished and kept", lines[-1])
            assert found
            assert 12 <= int(found[1]) < 33

    @pytest.mark.parametrize("normalise", ["split", "0.4,0.2"])
    def test_a_video_that_changes_meanwhile_is_noticed(
        self, tmp_path, data, normalise: str, monkeypatch
    ) -> None:
        original = (data.parent / "train.mp4").read_bytes()
        plain = decode

        def meanwhile(path, *given):
            yield from plain(path, *given)
            write_video(data.parent / "train.mp4", textured(FRAMES, seed=99))

        monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 512 * 4)
        options = options_of(data, tmp_path / "features", normalise=normalise)
        with monkeypatch.context() as patch:
            patch.setattr(decoders, "decode", meanwhile)
            with pytest.raises(InputError, match=r"train\.mp4.*changed"):
                build(options)
        assert sealed_stores(options.store) == []
        # Nothing of the other content was kept under the name of this one.
        (data.parent / "train.mp4").write_bytes(original)
        undisturbed = build(options_of(data, tmp_path / "undisturbed", normalise=normalise))
        assert checksums(build(options).path) == checksums(undisturbed.path)

    def test_weights_that_change_meanwhile_are_noticed(self, tmp_path: Path, data: Path) -> None:
        from pipeline.build import build as stage
        from pipeline.build.plan.build_plan import cache_of
        from tests.builds import silent

        def save(seed: int) -> None:
            tensors = build_backbone("squeezenet1_1", seed).network.state_dict()
            save_file(tensors, tmp_path / "w.safetensors")

        save(1)
        options = options_of(data, tmp_path / "features", weights=str(tmp_path / "w.safetensors"))
        plan = plan_of(options)
        save(2)
        cache = cache_of(options.store)
        try:
            with pytest.raises(InputError, match=r"w\.safetensors changed"):
                stage.build(plan, cache, silent)
        finally:
            cache.close()
        assert sealed_stores(options.store) == []

    def test_a_failed_seal_is_finished_by_the_next_build(self, tmp_path, data, monkeypatch) -> None:
        def full(path: Path) -> None:
            raise OSError(28, "No space left on device")

        root = tmp_path / "features"
        with monkeypatch.context() as patch:
            patch.setattr(writer, "sync_tree", full)
            with pytest.raises(OSError, match="No space"):
                build(options_of(data, root))
        assert sealed_stores(root) == []
        lines: list[str] = []
        finished = build(options_of(data, root), lines.append)
        assert "resuming after 1 of 1 finished units" in lines
        undisturbed = build(options_of(data, tmp_path / "undisturbed"))
        assert checksums(finished.path) == checksums(undisturbed.path)

    def test_a_store_that_cannot_be_begun_leaves_nothing(self, tmp_path, data, monkeypatch) -> None:
        monkeypatch.setattr(schema, "ARRAYS", {"no_such": ("int8", "x", {})})
        with pytest.raises(KeyError):
            build(options_of(data, tmp_path / "features"))
        assert nothing_built(tmp_path / "features")

    def test_a_disk_too_small(self, tmp_path: Path, data: Path, monkeypatch) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
        with pytest.raises(InputError, match=r"1\.00 MB free"):
            build(options_of(data, tmp_path / "features"))
        assert nothing_built(tmp_path / "features")

    def test_two_at_once(self, tmp_path: Path, data: Path) -> None:
        options = options_of(data, tmp_path / "features")
        with (
            writer_lock(options.store, plan_of(options).key),
            pytest.raises(BusyError, match="Another process is building"),
        ):
            build(options)
        assert nothing_built(tmp_path / "features")
        build(options)

    def test_the_second_finds_what_the_first_built_meanwhile(self, tmp_path, data) -> None:
        from pipeline.build import build as stage
        from pipeline.build.plan.build_plan import cache_of
        from tests.builds import silent

        options = options_of(data, tmp_path / "features")
        waiting = plan_of(options)
        store = build(options)
        before = checksums(store.path)
        cache = cache_of(options.store)
        try:
            assert stage.build(waiting, cache, silent) == {}
        finally:
            cache.close()
        assert checksums(store.path) == before


def test_a_renamed_data_folder_meets_the_same_lock(tmp_path: Path, data: Path) -> None:
    first = plan_of(options_of(data, tmp_path / "features"))
    renamed = data.parent.rename(data.parent.with_name("renamed")) / data.name
    second = plan_of(options_of(renamed, tmp_path / "features"))
    assert first.path != second.path
    with (
        writer_lock(tmp_path / "features", first.key),
        pytest.raises(BusyError, match="Another process is building"),
    ):
        build(options_of(renamed, tmp_path / "features"))


def test_a_changed_video_is_noticed(tmp_path: Path, data: Path) -> None:
    options = options_of(data, tmp_path / "features")
    one = build(options)
    write_video(data.parent / "train.mp4", textured(FRAMES, seed=55))
    two = build(options)
    assert one.key != two.key
    assert not np.allclose(one[2], two[2])


def test_default_device_is_named(tmp_path: Path, data: Path) -> None:
    with pytest.raises(InputError, match="--device is 'nonsense'"):
        build(options_of(data, tmp_path / "features", device="nonsense"))
    store = build(options_of(data, tmp_path / "features"))
    assert store.attributes["numerics"]["device"] == "cpu"
    assert store.attributes["numerics"]["torch"] == torch.__version__
