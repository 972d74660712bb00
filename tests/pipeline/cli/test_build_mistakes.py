"""`featstore build`: what it refuses, in one line that names the flag and the value."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from featstore.writing.locks import writer_lock
from models.backbones import build_backbone
from pipeline.build.plan import weights
from pipeline.cli import main
from tests.builds import ROWS, options_of, plan_of, row, write_dataset
from tests.commands import arguments, build, in_one_line, refused, run
from tests.videos import GOP_8, textured, write_table, write_video


class TestBadInput:
    """Every mistake is one sentence, with exit code 2, and leaves no store."""

    def table(self, *rows: dict) -> None:
        write_table(Path("data/clips.csv"), list(rows))

    def test_missing_video(self, data: Path) -> None:
        Path("data/val.mkv").unlink()
        in_one_line(build(), "1 of 3 annotated videos are missing", "val.mkv")

    def test_truncated_video(self, data: Path) -> None:
        path = Path("data/train.mp4")
        write_video(path, textured(24), options=GOP_8, container={"movflags": "faststart"})
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        in_one_line(build(), "train.mp4 is truncated")

    def test_truncated_video_without_a_table(self, data: Path) -> None:
        path = Path("data/val.mkv")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        in_one_line(build(), "val.mkv is truncated", "of 0.800 s")

    def test_corrupt_video(self, data: Path) -> None:
        path = Path("data/train.mp4")
        content = bytearray(path.read_bytes())
        half = len(content) // 2
        content[half : half + 3000] = bytes(3000)
        path.write_bytes(content)
        refused(build(), "train.mp4: frame ", " did not decode")

    @pytest.mark.parametrize("content", [b"", b"hello" * 99])
    def test_no_video(self, data: Path, content: bytes) -> None:
        Path("data/test.avi").write_bytes(content)
        in_one_line(build(), "test.avi cannot be read as a video")

    def test_missing_table(self, data: Path) -> None:
        in_one_line(run(*arguments(data="data/no.csv")), "data/no.csv does not exist")

    def test_bad_table_is_seen_before_weights_are_downloaded(self, data, monkeypatch) -> None:
        monkeypatch.setattr(weights, "_download", None)
        monkeypatch.setenv("TORCH_HOME", "nowhere")
        result = run("build", "--source", "table", "--data", "data/no.csv")
        in_one_line(result, "data/no.csv does not exist")

    @pytest.mark.parametrize("text", ["", "\n \n", "video,start,end,label,subject,split\n"])
    def test_empty_table(self, data: Path, text: str) -> None:
        data.write_text(text)
        in_one_line(build(), "data/clips.csv")

    def test_unknown_label(self, data: Path) -> None:
        Path("data/classes.txt").write_text("a\nbb\n")
        in_one_line(build("--classes", "data/classes.txt"), '"b"', '"bb"')

    def test_start_after_end(self, data: Path) -> None:
        self.table(*ROWS, row("train.mp4", 9, 3, "train"))
        in_one_line(build(), "row 7", "9", "3")

    def test_negative_start(self, data: Path) -> None:
        self.table(*ROWS, row("train.mp4", -2, 3, "train"))
        in_one_line(build(), "row 7", "-2")

    def test_past_the_end(self, data: Path) -> None:
        self.table(*ROWS, row("val.mkv", 9, 25, "val"))
        in_one_line(build(), "1 of 6 clips lie outside of their video", "24 frames, and 9 to 25")

    def test_shared_subject(self, data: Path) -> None:
        self.table(*ROWS, row("val.mkv", 9, 12, "val") | {"subject": "of train"})
        in_one_line(build(), "of train")

    def test_no_clip_long_enough(self, data: Path) -> None:
        in_one_line(build("--min-frames", "99"), "None of 5 clips has 99 frames")

    def test_weights_of_another_architecture(self, data: Path) -> None:
        torch.save(build_backbone("mobilenet_v3_small").network.state_dict(), "other.pth")
        refused(build("--weights", "other.pth"), "other.pth does not fit squeezenet1_1", "missing")

    def test_weights_that_are_none(self, data: Path) -> None:
        Path("w.pth").write_bytes(b"no weights")
        refused(build("--weights", "w.pth"), "w.pth")

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            (["--weights", "missing.pth"], ["missing.pth", "no such file"]),
            (["--backbone", "squeezenet"], ["'squeezenet'", "did you mean 'squeezenet1_1'"]),
            (["--fps", "31"], ["--fps is 31", "30 frames a second"]),
            (["--normalise", "nan,1"], ["--normalise"]),
            (["--batch-size", "0"], ["--batch-size is 0"]),
            (["--source", "tables"], ["did you mean 'table'"]),
            (["--view", "kinect_ir"], ["--view is no flag of --source table"]),
            (["--split", "1"], ["--split-file"]),
        ],
    )
    def test_flags(self, data: Path, more: list[str], words: list[str]) -> None:
        in_one_line(build(*more), *words)

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            (["--backbone", "timm:nothing"], ["timm has no model 'nothing'"]),
            (["--device", "cuda:99"], ["--device is 'cuda:99'"]),
            (["--size", "8"], ["--size is 8"]),
        ],
    )
    def test_flags_that_torch_refuses(self, data: Path, more, words) -> None:
        refused(build(*more), *words)

    @pytest.mark.parametrize("value", ["0", "-1", "x", "1/0"])
    def test_rates(self, data: Path, value: str) -> None:
        result = build("--fps", value)
        assert result.exit_code == 2
        assert "is not a positive number" in result.stderr

    def test_source_without_its_flag(self, data: Path) -> None:
        in_one_line(run("build", "--source", "table"), "--source table needs --data")

    def test_busy(self, data: Path) -> None:
        options = options_of(data, Path("features"))
        with writer_lock(options.store, plan_of(options).key):
            refused(build(), "Another process is building")

    @pytest.mark.parametrize("damage", ["text", "folder"])
    def test_damaged_cache(self, data: Path, damage: str) -> None:
        cache = Path("features/.cache.sqlite")
        cache.parent.mkdir()
        if damage == "text":
            cache.write_text("not a database" * 99)
        else:
            cache.mkdir()
        in_one_line(build(), "features/.cache.sqlite cannot be used")


def test_one_video_under_two_names_in_two_parts(data: Path) -> None:
    Path("data/copy.mp4").write_bytes(Path("data/train.mp4").read_bytes())
    write_table(Path("data/clips.csv"), [*ROWS, row("copy.mp4", 0, 9, "test")])
    refused(build(), "copy.mp4 (test)", "train.mp4 (train)", "same video")


def test_a_damaged_store_says_how_to_mend_it(data: Path) -> None:
    path = Path(build().stdout.splitlines()[-1].split(" ")[0])
    root = path / "zarr.json"
    root.write_text(root.read_text("utf-8").replace('"size": 32', '"size": 33'), "utf-8")
    result = build()
    assert result.exit_code == 2
    assert "--repair" in result.stderr
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert "Nothing can be kept" in build("--repair").stdout
    assert before.keys() == {file for file in path.rglob("*") if file.is_file()}
    assert [file for file in before if file.read_bytes() != before[file]] == [root]
    for file in path.rglob("*"):
        if file.is_file():
            file.unlink()
    assert f"{path} exists but is not a store" in build().stderr


@pytest.mark.parametrize("value", ["70,30", "-0.1,0.2", "0.5,1.5"])
def test_normalise_of_other_pixels(data: Path, value: str) -> None:
    in_one_line(build("--normalise", value), "pixels lie in 0..1")


def test_a_store_is_no_folder_of_stores(data: Path) -> None:
    path = build().stdout.splitlines()[-1].split(" ")[0]
    before = sorted(Path(path).iterdir())
    result = build("--stores", path)
    assert result.exit_code == 2
    assert "which is a store" in result.stderr
    assert sorted(Path(path).iterdir()) == before


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (MemoryError(), "ran out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "CUDA out of memory"),
        (RuntimeError("[x] DefaultCPUAllocator: you tried to allocate 5000000 bytes."), "5.00 MB"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "can't allocate"),
    ],
)
@pytest.mark.parametrize(
    ("command", "lower"), [("build", "--batch-size"), ("train", "train.batch_size")]
)
def test_want_of_memory_is_one_sentence(monkeypatch, error, shown, command, lower) -> None:
    def want(**_: object) -> None:
        raise error

    monkeypatch.setattr(main.commands[command], "callback", want)
    ran = CliRunner().invoke(main, [command])
    assert (ran.exit_code, ran.exception.__class__) == (2, SystemExit)
    assert shown in ran.output
    assert lower in ran.output


def test_other_errors_keep_their_traceback(monkeypatch) -> None:
    def wrong(**_: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(main.commands["build"], "callback", wrong)
    assert isinstance(CliRunner().invoke(main, ["build"]).exception, RuntimeError)


def test_a_batch_that_memory_does_not_hold(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    flags = ["--source", "table", "--data", str(data), "--pixels", "luma", "--weights", "random"]
    flags += ["--backbone", "squeezenet1_1", "--size", "64", "--batch-size", "1000000000"]
    ran = CliRunner().invoke(main, ["build", *flags, "--stores", str(tmp_path / "s")])
    assert ran.exit_code == 2
    assert "--batch-size" in ran.output
