from __future__ import annotations

from pathlib import Path

import pytest

from featstore.errors import InputError
from pipeline.sources.folders import Folders


@pytest.fixture
def parted(write, tmp_path: Path) -> Path:
    for part in ("train", "val", "test"):
        for label in ("walk", "sit"):
            write(f"{part}/{label}/{part}1.mp4", "")
    return tmp_path


def test_three_parts(parted: Path) -> None:
    dataset = Folders(data=parted).read()
    assert {(clip.clip_id, clip.label, clip.split) for clip in dataset.annotations} == {
        (f"{part}/{label}/{part}1", label, part)
        for part in ("train", "val", "test")
        for label in ("walk", "sit")
    }
    assert dataset.classes == ("sit", "walk")
    assert not dataset.subjects_known
    clip = dataset.annotations[0]
    assert (clip.path, clip.subject) == (parted / clip.video, clip.video)
    assert (clip.start, clip.stop) == (None, None)


def test_numbered_images_are_a_video(write, parted: Path) -> None:
    write("train/sit/run.1/000001.jpg", "")
    write("train/sit/run.1/000002.jpg", "")
    videos = {clip.clip_id for clip in Folders(data=parted).read().annotations}
    assert "train/sit/run.1" in videos
    assert len(videos) == 7


def test_what_is_no_video_is_named_and_hidden_files_are_not(write, parted: Path) -> None:
    write("train/sit/notes.txt", "")
    write("train/sit/.DS_Store", "")
    dataset = Folders(data=parted).read()
    assert len(dataset.annotations) == 6
    assert dataset.notes == ("Skipped, not videos: train/sit/notes.txt.",)


def test_val_is_taken_from_train(write, tmp_path: Path, counts) -> None:
    for n in range(10):
        write(f"train/walk/{n}.mp4", "")
    write("test/walk/10.mp4", "")
    dataset = Folders(data=tmp_path).read()
    assert counts(dataset) == (8, 2, 1)
    assert "moved to val" in dataset.notes[0]


def test_folds_by_ucf_group(write, tmp_path: Path) -> None:
    for group in ("g01", "g02", "g03"):
        for clip in ("c01", "c02"):
            write(f"Archery/v_Archery_{group}_{clip}.avi", "")
            write(f"Biking/v_Biking_{group}_{clip}.avi", "")
    dataset = Folders(data=tmp_path, folds=3, fold=0).read()
    assert dataset.subjects_known
    assert {(clip.subject, clip.split) for clip in dataset.annotations} == {
        ("g01", "test"),
        ("g02", "val"),
        ("g03", "train"),
    }


def test_a_shared_group_is_refused(write, tmp_path: Path) -> None:
    for part, clip in (("train", "c01"), ("val", "c02"), ("test", "c03")):
        write(f"{part}/Archery/v_Archery_g01_{clip}.avi", "")
    with pytest.raises(InputError, match=r"g01 \(train, val, test\)"):
        Folders(data=tmp_path).read()


def test_folds_replace_the_parts(parted: Path) -> None:
    dataset = Folders(data=parted, folds=3, fold=0).read()
    assert dataset.notes[0].startswith("--folds replaces")
    assert dataset.title.endswith("fold 0 of 3")


def test_classes_without_parts_need_folds(write, tmp_path: Path) -> None:
    write("walk/a.mp4", "")
    with pytest.raises(InputError, match="--folds"):
        Folders(data=tmp_path).read()


def test_a_folder_beside_the_parts(write, parted: Path) -> None:
    write("validation/walk/a.mp4", "")
    with pytest.raises(InputError, match="holds validation in addition to test, train, val"):
        Folders(data=parted).read()


def test_label_outside_of_the_class_list(write, parted: Path) -> None:
    with pytest.raises(InputError, match=r'sit.train1\.mp4: label "sit" .* nearest name is "sits"'):
        Folders(data=parted, classes=write("c.txt", "sits\nwalk\n")).read()


def test_no_video_and_no_folder(write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none is not a folder"):
        Folders(data=tmp_path / "none").read()
    write("train/walk/a.txt", "")
    with pytest.raises(InputError, match="holds no video"):
        Folders(data=tmp_path).read()
