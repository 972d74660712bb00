"""`featstore build`: what it prints and leaves."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import featstore
from featstore.keys import store_key
from pipeline.build.plan import weights
from pipeline.build.plan.options import BATCH_SIZES, BuildOptions
from pipeline.cli import main
from pipeline.cli.config_file import FILE
from tests.builds import ROWS
from tests.commands import arguments, build, run
from tests.videos import GOP_8, textured, write_late, write_table, write_video


def test_last_line_is_path_and_key(data: Path) -> None:
    result = build()
    assert result.exit_code == 0, result.output
    path, key = result.stdout.splitlines()[-1].split(" ")
    store = featstore.open(path)
    assert (store.key, len(store)) == (key, len(ROWS))
    assert Path(path).parent == Path("features")
    assert "UNTRAINED" in result.stdout
    assert "clips a second" in result.stdout


def test_second_run_does_nothing(data: Path) -> None:
    first = build()
    before = {p: p.stat().st_mtime_ns for p in Path("features").rglob("*.zarr/**/*")}
    code = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open'"
        " else None)\n"
        "from pipeline.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "heavy = {'torch', 'zarr', 'dask', 'av', 'torchvision'} & sys.modules.keys()\n"
        "videos = [name for name in opened if name.endswith(('.mp4', '.mkv', '.avi'))]\n"
        "tables = [name for name in opened if name.endswith('clips.csv')]\n"
        "print(sorted(heavy), videos, len(tables), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments()], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[] [] 1"
    assert "already built: nothing to do" in done.stdout
    assert done.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
    assert before == {p: p.stat().st_mtime_ns for p in Path("features").rglob("*.zarr/**/*")}


def test_json_is_one_object(data: Path) -> None:
    for more in ((), (), ("--dry-run",)):
        result = build("--json", *more)
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        names = {"path", "key", "subjects_known", "untrained"}
        assert found.keys() == (names | {"bytes"} if more else names)
        assert (found["subjects_known"], found["untrained"]) == (True, True)
        assert featstore.open(found["path"]).key == found["key"]


def test_every_output_says_that_the_backbone_is_untrained(data: Path) -> None:
    for result in (build("--dry-run"), build(), build(), run("ls")):
        assert result.exit_code == 0, result.output
        assert "UNTRAINED" in result.stdout


def test_dry_run_writes_no_store(data: Path) -> None:
    result = build("--dry-run")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["clips", "5"] in lines
    assert ["steps", str(sum(r["end"] - r["start"] for r in ROWS))] in lines
    assert ["built", "no"] in lines
    assert list(Path("features").glob("*zarr*")) == []
    assert build().exit_code == 0
    assert "yes" in build("--dry-run").stdout


def test_dry_run_downloads_no_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(weights, "_download", None)
    result = build("--weights", "default", "--dry-run")
    assert result.exit_code == 0, result.output
    file = "squeezenet1_1-b8a52dc0.pth"
    assert f"backbone squeezenet1_1, {file}, which the build downloads first" in result.stdout
    assert "UNTRAINED" not in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["key", "known", "after", "the", "download"] in lines
    facts = json.loads(build("--weights", "default", "--dry-run", "--json").stdout)
    assert facts.pop("bytes") > 0
    assert facts == {"path": None, "key": None, "subjects_known": True, "untrained": False}


def test_like_comes_before_the_file(data: Path) -> None:
    path = Path(build().stdout.splitlines()[-1].split()[0])
    others = "size: 64, fps: 5, backbone: resnet18, weights: none.pth, classes: none.txt"
    FILE.write_text(f"build: {{source: table, data: data/clips.csv, {others}}}")
    result = run("build", "--like", str(path), "--device", "cpu", "--workers", "1")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if "--like" in line]
    assert line == (
        "featstore.yaml: --size, --fps, --backbone, --weights, --classes left out, because --like "
        "decides that."
    )
    other = featstore.open(result.stdout.splitlines()[-1].split()[0])
    assert (other.classes, len(other), other.dim) == (("a", "b"), len(ROWS), 512)
    both = run("build", "--like", str(path), "--size", "64")
    assert "decides --size; leave out one of the two" in both.stderr


def test_another_setting_says_what_changed(data: Path) -> None:
    build()
    result = build("--size", "48")
    assert "size: 32 -> 48" in result.stdout
    assert len(list(Path("features").glob("*.zarr"))) == 2


def test_sampling_by_the_command_line(data: Path) -> None:
    path = build("--fps", "7.5").stdout.splitlines()[-1].split()[0]
    assert featstore.open(path).frames(0).tolist() == [0, 4, 8, 12, 16, 20]


def test_stats(data: Path) -> None:
    result = run("stats", "--source", "table", "--data", str(data), "--pixels", "luma", "--json")
    found = json.loads(result.stdout)
    assert (found["frames"], found["pixels"], found["clips"]) == (16, 16 * 48 * 64, 3)
    build()
    [store] = Path("features").glob("*.zarr")
    assert featstore.open(store).attributes["statistics"] == found


def test_unknown_subjects_are_another_store(data: Path) -> None:
    rows = [r | {"subject": r["video"]} for r in ROWS]
    write_table(Path("data/known.csv"), rows)
    write_table(Path("data/unknown.csv"), [{k: r[k] for k in r if k != "subject"} for r in rows])
    keys = {}
    for name, known in (("known", True), ("unknown", False)):
        result = run(*arguments("--json", data=f"data/{name}.csv"))
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert featstore.open(found["path"]).subjects_known == found["subjects_known"] == known
        assert ("Subjects are unknown" in result.stderr) != known
        keys[found["key"]] = name
    assert len(keys) == 2


def test_source_s_advice_is_taken_and_short_clips_are_counted(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    videos, tables = tmp_path / "kinect_ir", tmp_path / "activities_3s/kinect_ir"
    tables.mkdir(parents=True)
    header = "participant_id,file_id,annotation_id,frame_start,frame_end,activity,chunk_id"
    for number, part in enumerate(("train", "val", "test"), start=1):
        (videos / f"vp{number}").mkdir(parents=True)
        name = f"vp{number}/run1_2018-01-01-00-00-0{number}.kinect_ir"
        write_video(videos / f"{name}.mp4", textured(40, seed=number), options=GOP_8)
        rows = [f"{number},{name},0,0,31,eating,0", f"{number},{name},1,31,38,drinking,0"]
        rows.append(f"{number},{name},2,31,39,drinking,0")
        table = tables / f"midlevel.chunks_90.split_0.{part}.csv"
        table.write_text("\n".join([header, *rows]) + "\n")
    quick = ["--backbone", "squeezenet1_1", "--weights", "random", "--size", "32"]
    result = run("build", "--data", ".", *quick)
    assert result.exit_code == 0, result.output
    assert "dropped 3 clips shorter than 8 frames" in result.stdout
    assert "another split is extracted again" in result.stdout
    path = result.stdout.splitlines()[-1].split(" ")[0]
    store = featstore.open(path)
    assert store.attributes["features"]["pixels"] == "luma"
    assert store.attributes["features"]["fps"] == "5"
    assert store.frames(0).tolist() == list(range(0, 31, 6))
    assert len(store) == 6
    assert "3 clips shorter than 8 frames" in run("info", path).stdout
    provenance = json.loads(Path(f"{path}.build.json").read_text("utf-8"))
    assert provenance["seconds"]["total"] > 0
    dropped = [f"vp{n}/run1_2018-01-01-00-00-0{n}/1/0" for n in (1, 2, 3)]
    assert provenance["dropped_clips"] == dropped
    assert ", ".join(dropped) in result.stdout


def test_seconds_are_those_of_players(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One video begins 2 s after its sound; of another, one frame is held for 10 s."""
    monkeypatch.chdir(tmp_path)
    write_late(tmp_path / "late.mp4", textured(100), 2)
    times = [40 * n for n in range(25)] + [11000 + 40 * n for n in range(25)]
    write_video(tmp_path / "held.mp4", textured(50), times=times)
    write_video(tmp_path / "a.mp4", textured(100, seed=2), rate=25)
    lines = ["late.mp4,3,4,x,1,train", "held.mp4,3,5,x,1,train", "held.mp4,3,4,x,1,train"]
    lines += ["a.mp4,0,1,x,2,val", "a.mp4,1,2,x,2,test"]
    header = "video,start,end,label,subject,split"
    (tmp_path / "t.csv").write_text("\n".join([header, *lines]).replace("x,2,test", "x,3,test"))
    quick = ["--source", "table", "--data", "t.csv", "--backbone", "squeezenet1_1"]
    quick += ["--weights", "random", "--size", "32", "--unit", "seconds", "--fps", "5"]
    result = run("build", *quick)
    assert result.exit_code == 0, result.output
    assert "1 videos begin after their files, such as late.mp4" in result.stdout
    store = featstore.open(result.stdout.splitlines()[-1].split(" ")[0])
    clips = {str(name): number for number, name in enumerate(store.clip_ids)}
    late = clips["late#3-4"]
    assert store.frames(late).tolist() == [25, 30, 35, 40, 45]
    np.testing.assert_allclose(store.times(late), [3, 3.2, 3.4, 3.6, 3.8], atol=0.03)
    assert store.frames(clips["held#3-5"]).tolist() == [24] * 10
    assert store.frames(clips["held#3-4"]).tolist() == [24] * 5
    assert len(store.attributes["shown"]) == 2
    assert list(store.attributes["begins"]) == ["late.mp4"]
    known = store.subjects_known
    features = store.attributes["features"]
    assert store_key(features, store.classes, store.clip_keys(), subjects_known=known) == store.key
    assert run("build", *quick).stdout.splitlines()[-1] == result.stdout.splitlines()[-1]


def test_grey_rgb_gets_a_hint(data: Path) -> None:
    result = run(*[a if a != "luma" else "rgb" for a in arguments()])
    assert "--pixels luma reads infrared" in result.stdout
    assert "--pixels luma reads infrared" not in build().stdout


def test_progress_goes_on_within_a_unit(data: Path, monkeypatch) -> None:
    from pipeline.build import build as stage

    class Seen(stage.Progress):
        def advance(self, done: int, frames: int = 0) -> None:
            seen.append((self._title, done, frames))
            super().advance(done, frames)

    seen: list[tuple[str, int, int]] = []
    monkeypatch.setattr(stage, "Progress", Seen)
    assert build().exit_code == 0
    ticks = [(done, frames) for title, done, frames in seen if title == "extracting"]
    assert sum(done for done, _ in ticks) == len(ROWS)
    assert sum(done > 0 for done, _ in ticks) > 1
    assert sum(frames for _, frames in ticks) == 16 + 17 + 24


def test_all_frames_in_any_case(data: Path) -> None:
    keys = {json.loads(build("--json", "--fps", word).stdout)["key"] for word in ("all", "ALL")}
    assert len(keys) == 1
    assert "`all`" in build("--fps", "often").stderr


def test_help_has_the_defaults_of_the_code() -> None:
    shown = " ".join(CliRunner().invoke(main, ["build", "--help"]).output.split())
    for size in BATCH_SIZES.values():
        assert re.search(rf"--batch-size [^[]*\[default: [^]]*\b{size}\b", shown)
    for flag in ("backbone", "size", "window", "hop", "normalise", "fit", "dtype", "device"):
        stated = re.search(rf"--{flag} .*?\[default: ([^]]*)\]", shown)
        assert stated is not None
        assert stated[1] == str(getattr(BuildOptions, flag)), flag
