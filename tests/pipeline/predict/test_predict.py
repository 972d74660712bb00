"""Predictions for recordings: the same features and probabilities as stage two."""

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featstore
from featstore.errors import InputError
from pipeline.build.extract.extractor import Extractor
from pipeline.predict import predict as predict_module
from pipeline.predict import recording
from pipeline.predict.outputs import read_kept, read_table, write_table
from pipeline.predict.predict import KEPT, folder_of
from pipeline.system import dask_cluster
from pipeline.system.dask_cluster import Cluster
from pipeline.train.evaluate import rescore
from tests.builds import silent
from tests.videos import textured, write_video

WINDOW = {"window": 0.4, "hop": 0.2, "pictures": False, "workers": 1, "device": "cpu"}
ALL = ("none", "train", "clip", "recording", "causal", "subject")


def predict(run: Any, inputs: Any, out: Path, **more: Any) -> featstore.Predictions:
    return featstore.predict(run, inputs, out=out, log=silent, **(WINDOW | more))


@pytest.mark.parametrize("standardise", ALL)
def test_intervals_of_a_table_have_the_probabilities_of_stage_two(
    made, tmp_path, standardise: str
) -> None:
    run = made.run(standardise)
    found = predict(run, made.table, tmp_path, intervals=True)
    of_window = {(r["recording"], r["start_frame"], r["end_frame"]): r for r in found.windows()}
    assert len(of_window) == len(made.store)
    for part in ("train", "val", "test"):
        expected = rescore(run.path, made.store, part)
        for clip, logs in zip(expected.clips, expected.log_probabilities, strict=True):
            place = (made.store.videos[clip], made.store.start[clip], made.store.stop[clip])
            row = of_window[place]
            probabilities = [row[f"p:{name}"] for name in made.store.classes]
            np.testing.assert_allclose(probabilities, np.exp(logs), atol=2e-6)


def seen_rows(monkeypatch) -> list[np.ndarray]:
    """Record the features of every window that is classified."""
    seen: list[np.ndarray] = []
    plain = recording.classified

    def classified(trained, clips, sums):
        seen.extend(clips)
        return plain(trained, clips, sums)

    monkeypatch.setattr(recording, "classified", classified)
    return seen


def test_a_sliding_window_that_equals_a_clip_has_its_features_to_the_bit(
    made, tmp_path, monkeypatch
) -> None:
    seen = seen_rows(monkeypatch)
    run = made.run("none")
    # test.avi has clips [0, 12) and [6, 18) of 30 frames a second.
    found = predict(run, made.data / "test.avi", tmp_path)
    starts = [(row["start_frame"], row["end_frame"]) for row in found.windows()]
    assert starts == [(0, 12), (6, 18), (12, 24)]
    expected = rescore(run.path, made.store, "test")
    for clip, logs in zip(expected.clips[:], expected.log_probabilities, strict=True):
        interval = (int(made.store.start[clip]), int(made.store.stop[clip]))
        if interval in starts:
            number = starts.index(interval)
            np.testing.assert_array_equal(seen[number], made.store[int(clip)])
            row = found.windows()[number]
            np.testing.assert_allclose(
                [row[f"p:{name}"] for name in made.store.classes], np.exp(logs), atol=2e-6
            )
    assert {(0, 12), (6, 18)} <= set(starts)


def test_each_frame_is_decoded_and_computed_once(made, tmp_path, monkeypatch) -> None:
    counted = {"inputs": 0, "frames": 0}
    plain = Extractor.stream

    def stream(self, segment, tick):
        def both(inputs: int, frames: int) -> None:
            counted["inputs"] += inputs
            counted["frames"] += frames
            tick(inputs, frames)

        return plain(self, segment, both)

    monkeypatch.setattr(Extractor, "stream", stream)
    found = predict(made.run(), made.data / "train.mp4", tmp_path, hop=0.0667)
    steps = sum((row["end_frame"] - row["start_frame"]) // 2 for row in found.windows())
    assert len(found.windows()) > 5
    assert counted["inputs"] == counted["frames"] == 12  # of 24 frames, at half their rate
    assert steps > 3 * counted["inputs"]


def test_a_folder_resumes(made, tmp_path) -> None:
    said: list[str] = []
    out = tmp_path / "out"
    first = featstore.predict(made.run(), made.data, out=out, log=silent, **WINDOW)
    assert first.facts["recordings"] == 3
    kept = {path: path.stat().st_mtime_ns for path in out.rglob(KEPT)}
    assert len(kept) == 3
    (folder_of(out, "val.mkv") / KEPT).write_bytes(b"cut off")
    second = featstore.predict(made.run(), made.data, out=out, log=said.append, **WINDOW)
    assert "2 recordings predicted before: skipped" in said
    assert second.facts["skipped"] == 2
    assert second.windows() == first.windows()
    changed = {path.parent.name for path, time in kept.items() if path.stat().st_mtime_ns != time}
    assert changed == {folder_of(out, "val.mkv").name}
    other = featstore.predict(made.run("train"), made.data, out=out, log=silent, **WINDOW)
    assert other.facts["skipped"] == 0  # another run


def test_dask_predicts_the_same_though_a_worker_dies(made, tmp_path, monkeypatch) -> None:
    pytest.importorskip("distributed")
    alone = predict(made.run("recording"), made.data, tmp_path / "alone")
    clusters: list[Cluster] = []
    killed: list[int] = []

    class Watched(Cluster):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            clusters.append(self)

    def keep(*given: Any) -> None:
        if not killed:
            killed.append(next(iter(clusters[0]._client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)
        kept(*given)

    kept = predict_module.keep
    monkeypatch.setattr(dask_cluster, "Cluster", Watched)
    monkeypatch.setattr(predict_module, "keep", keep)
    together = predict(made.run("recording"), made.data, tmp_path / "together", dask="local:2")
    assert killed
    assert together.windows() == alone.windows()
    again = predict(made.run("recording"), made.data, tmp_path / "together")
    assert again.facts["skipped"] == 3


def test_tables_in_other_formats_and_subtitles(made, tmp_path) -> None:
    plain = predict(made.run(), made.data / "test.avi", tmp_path / "csv")
    lines = predict(made.run(), made.data / "test.avi", tmp_path / "lines", format="jsonl")
    for one, other in zip(plain.windows(), lines.windows(), strict=True):
        assert one["label"] == other["label"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)
    (segment, *_) = plain.segments()
    text = (folder_of(plain.path, "test.avi") / "segments.vtt").read_text()
    assert text.startswith("WEBVTT\n\n00:00:00.000 --> ")
    assert f"{segment['label']} {100 * segment['probability']:.0f} %" in text


def test_parquet_has_the_same_values(tmp_path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = ["recording", "start", "start_frame", "probability", "gap"]
    rows = [
        {"recording": "a.mp4", "start": 0.5, "start_frame": 15, "probability": 0.25, "gap": ""},
        {"recording": "b", "start": 1.0, "start_frame": 3, "probability": None, "gap": "lost"},
    ]
    write_table(tmp_path / "windows", columns, rows, "parquet")
    assert read_table(tmp_path, "windows") == rows
    write_table(tmp_path / "segments", columns, [], "parquet")
    assert read_table(tmp_path, "segments") == []
    schema = parquet.read_table(tmp_path / "windows.parquet").schema
    assert [str(schema.field(name).type) for name in columns] == [
        "string", "double", "int64", "double", "string",
    ]  # fmt: skip
    assert parquet.read_table(tmp_path / "segments.parquet").schema == schema


def test_frames_that_do_not_decode_are_named_gaps(made, tmp_path) -> None:
    path = tmp_path / "damaged.mkv"
    write_video(path, textured(90, seed=4), codec="ffv1", pixel_format="gray", options={"g": "1"})
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    path.write_bytes(content)
    said: list[str] = []
    found = featstore.predict(made.run(), path, out=tmp_path / "out", log=said.append, **WINDOW)
    gaps = [row for row in found.windows() if row["gap"]]
    whole = [row for row in found.windows() if not row["gap"]]
    assert gaps
    assert whole
    assert all("did not decode" in row["gap"] and row["probability"] is None for row in gaps)
    assert found.facts["gaps"] == len(gaps)
    assert any(line.startswith("GAP in damaged.mkv") for line in said)
    end = max(row["end"] for row in whole)
    assert all(segment["end"] <= end + 1e-6 for segment in found.segments())


def test_a_file_that_is_no_video_is_named_and_the_others_are_predicted(made, tmp_path) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    (folder / "broken.mp4").write_bytes(b"nothing")
    (folder / "good.avi").write_bytes((made.data / "test.avi").read_bytes())
    said: list[str] = []
    found = featstore.predict(made.run(), folder, out=tmp_path / "out", log=said.append, **WINDOW)
    assert found.facts["unreadable"] == 1
    assert any(line.startswith("NOT READ: ") and "broken.mp4" in line for line in said)
    with pytest.raises(InputError, match="None of 1 recording can be read"):
        predict(made.run(), folder / "broken.mp4", tmp_path / "none")


def test_a_table_with_labels_is_scored(made, tmp_path) -> None:
    found = predict(made.run(), made.table, tmp_path)
    assert found.scores is not None
    assert found.scores == json.loads((tmp_path / "scores.json").read_text())
    assert found.scores["recordings"] == 3
    assert 0 <= found.scores["accuracy_over_time"] <= 1
    bare = tmp_path / "bare.csv"
    with made.table.open() as stream, bare.open("w") as copy:
        writer = csv.writer(copy)
        writer.writerow(["video"])
        names = dict.fromkeys(row["video"] for row in csv.DictReader(stream))
        writer.writerows([[str(made.data / name)] for name in names])
    unscored = predict(made.run(), bare, tmp_path)
    assert unscored.scores is None
    assert not (tmp_path / "scores.json").exists()


def test_default_window_is_the_median_training_clip(made, tmp_path) -> None:
    run = made.run()
    assert run.metrics["train"]["clip_seconds"] == pytest.approx(0.4)
    found = predict(run, made.data / "test.avi", tmp_path, window=None, hop=None)
    assert found.windows()[0]["end"] == pytest.approx(0.4)


@pytest.mark.parametrize("standardise", ["subject"])
def test_by_subject_needs_subjects(made, tmp_path, standardise: str) -> None:
    with pytest.raises(InputError, match="standardised by subject, and 1 recording"):
        predict(made.run(standardise), made.data / "test.avi", tmp_path)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"window": 0.0}, "--window is 0"),
        ({"hop": float("nan")}, "--hop is nan"),
        ({"threshold": 1.0}, "--threshold is 1"),
        ({"format": "xlsx"}, "--format is 'xlsx'"),
        ({"intervals": True}, "name a table with start and end"),
        ({"widow": 3}, "no option 'widow' .did you mean 'window'"),
    ],
)
def test_mistakes_are_one_sentence(made, tmp_path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        predict(made.run(), made.data / "test.avi", tmp_path / "out", **more)


def test_missing_and_empty_inputs(made, tmp_path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        predict(made.run(), tmp_path / "nothing.mp4", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no videos"):
        predict(made.run(), tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match=r"both.*test\.avi"):
        predict(made.run(), [made.data, made.data / "test.avi"], tmp_path / "out")


def test_weights_with_another_content_are_refused(made, tmp_path) -> None:
    with pytest.raises(InputError, match="random:0"):
        predict(made.run(), made.data / "test.avi", tmp_path, weights=["random:1"])


def test_kept_predictions_that_are_damaged_count_as_missing(tmp_path) -> None:
    (tmp_path / KEPT).write_bytes(b"PK\x03\x04 nonsense")
    assert read_kept(tmp_path / KEPT) is None


def test_smoothing_is_chosen_on_annotated_recordings(made, tmp_path) -> None:
    said: list[str] = []
    options = WINDOW | {"smooth": "best"}
    found = featstore.predict(made.run(), made.table, out=tmp_path, log=said.append, **options)
    chosen = found.facts["smoothing"]
    assert any(f"--smooth {chosen['kind']} --smooth-seconds" in line for line in said)
    again = predict(
        made.run(),
        made.table,
        tmp_path,
        smooth=chosen["kind"],
        smooth_seconds=chosen["seconds"],
    )
    assert again.segments() == found.segments()
    with pytest.raises(InputError, match="chosen on annotated recordings"):
        predict(made.run(), made.data / "test.avi", tmp_path / "none", smooth="best")


def test_pictures_and_videos_with_labels(made, tmp_path) -> None:
    import av

    found = predict(made.run(), made.table, tmp_path, pictures=True, overlay=True, smooth="viterbi")
    folder = folder_of(found.path, "test.avi")
    assert (folder / "timeline.png").read_bytes().startswith(b"\x89PNG")
    with av.open(str(folder / "overlay.mp4")) as video:
        frames = [frame.to_ndarray(format="gray") for frame in video.decode(video=0)]
    assert len(frames) == 24
    assert frames[0].shape == (8 * 48 + 54, 8 * 64)  # as 64 pixels are fewer than 480
    band = [frame[-60:] for frame in frames]
    assert all((part > 200).any() for part in band)  # text
    attentive = made.run(recipe="attentive")
    found = predict(attentive, made.data / "test.avi", tmp_path / "attention", overlay=True)
    with av.open(str(folder_of(found.path, "test.avi") / "overlay.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    (kept,) = found.path.rglob(KEPT)
    attention = read_kept(kept).predicted.attention
    assert [len(attention[number]) for number in range(3)] == [16, 16, 16]  # of the recipe
    assert all(weights.sum() == pytest.approx(1) for weights in attention.values())
    assert frames[0].shape[0] == 8 * 48 + 110
    strip = frames[6][8 * 48 + 60 : -10].astype(int)
    bars = (strip[..., 0] > 180) & (strip[..., 2] < 90)  # orange
    assert bars.any(axis=0).mean() > 0.8
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    predict(made.run(), made.table, tmp_path, pictures=True, overlay=True, smooth="viterbi")
    for name in ("timeline.png", "overlay.mp4"):  # nothing changed: not drawn again
        assert (folder / name).stat().st_mtime_ns == times[folder / name]


def test_the_command(made, tmp_path) -> None:
    from click.testing import CliRunner

    from pipeline.cli import main

    flags = ["--window", "0.4", "--hop", "0.2", "--no-pictures", "--out", str(tmp_path / "out")]
    command = ["predict", str(made.run().path), str(made.table), *flags]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "accuracy over annotated time" in done.output
    assert "recordings in" in done.output.splitlines()[-1]
    again = CliRunner().invoke(main, [*command, "--json"])
    facts = json.loads(again.stdout)
    assert facts["skipped"] == facts["recordings"] == 3
    assert facts["scores"]["annotated_segments"] == 7


def test_a_video_backbone_has_the_probabilities_of_stage_two(made, tmp_path) -> None:
    store = featstore.build(
        "table",
        data=made.table,
        store=made.runs.parent / "video",
        backbone="r3d_18",
        weights="random",
        size=32,
        window=4,
        hop=2,
        pixels="luma",
        fps=15,
        workers=1,
        device="cpu",
        log=silent,
    )
    fields = {"train.epochs": 1, "data.standardise": "causal"}
    run = featstore.train(store, "linear", out=tmp_path / "run", set=fields, log=silent)
    found = predict(run, made.table, tmp_path / "out", intervals=True)
    rows = {(r["recording"], r["start_frame"], r["end_frame"]): r for r in found.windows()}
    expected = rescore(run.path, store, "test")
    for clip, logs in zip(expected.clips, expected.log_probabilities, strict=True):
        row = rows[store.videos[clip], store.start[clip], store.stop[clip]]
        probabilities = [row[f"p:{name}"] for name in store.classes]
        np.testing.assert_allclose(probabilities, np.exp(logs), atol=2e-6)
    sliding = predict(run, made.data / "test.avi", tmp_path / "slide", hop=2 / 15)
    assert sliding.facts["windows"] == 4
    assert sliding.facts["gaps"] == 0
