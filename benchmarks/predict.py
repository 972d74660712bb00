"""How long `featstore predict` takes beside decoding and the backbone alone, and in what memory.

Draws a recording (see `recording.py`), trains a head on clips of it, and predicts recordings with
overlapping windows::

    python benchmarks/predict.py [--folder FOLDER] [--minutes 1] [--rounds 3] [--size 224]
    python benchmarks/predict.py --rounds 0 --memory-for 1 10 60 --size 32

The reference streams the same sampled frames through decoder, preprocessing and backbone with the
same threads, and drops the features. Both take turns in rounds. Memory is measured on recordings of
128 x 106 pixels, so that an hour takes minutes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import av
import numpy as np
from private import Peak
from recording import RATE, annotate, recording, recordings, repeat
from report import machine

import featstore
from pipeline.build.extract.extractor import Extractor
from pipeline.build.plan.build_plan import cache_of
from pipeline.build.plan.sampling import sample
from pipeline.build.plan.steps import Segment
from pipeline.predict.trained import load_trained
from pipeline.video.videos import read_videos

INTERVAL, FPS = 30, 15
WINDOW, HOP = 3.0, 0.5
SMALL = (128, 106)
LEAST = 0.85


def quiet(line: str) -> None:
    """Log nothing."""


def trained(folder: Path, size: int) -> Path:
    """Return a run on the first minute of the recording."""
    out = folder / f"run-{size}"
    if not (out / "metrics.json").exists():
        table = annotate(folder / "predict.csv", recording(folder, INTERVAL, 1), 1)
        store = featstore.build(
            "table",
            data=table,
            store=folder / "features",
            backbone="mobilenet_v2",
            weights="random",
            size=size,
            pixels="luma",
            fps=FPS,
            log=quiet,
        )
        fields = {"train.epochs": 1, "data.standardise": "none"}
        featstore.train(store, "bilstm", out=out, set=fields, log=quiet)
    return out


Seconds = tuple[float, float]  # of the clock on the wall, and of the processors


def now() -> Seconds:
    """Return both clocks."""
    return time.perf_counter(), time.process_time()


def since(began: Seconds) -> Seconds:
    """Return the seconds since a moment."""
    ended = now()
    return ended[0] - began[0], ended[1] - began[1]


def reference(run: Path, video: Path) -> Seconds:
    """Return the seconds of decoding, preprocessing and the backbone, once for each frame."""
    with tempfile.TemporaryDirectory() as scratch, closing(cache_of(Path(scratch))) as cache:
        began = now()
        model = load_trained(run, cache, device="cpu", log=quiet)
        (indexed,) = read_videos({"a": video}, cache, image_rate=None, workers=2, log=quiet)
        frames = sample(indexed.index, 0, len(indexed.index), model.first.pixels.fps)
        extractor = Extractor(model.first.forward, [indexed], model.first.statistics)
        segment = Segment(0, frames[:, None], np.arange(len(frames)))
        for _ in extractor.stream(segment, lambda inputs, frames: None):
            pass
        return since(began)


def predicted(run: Path, video: Path, out: Path) -> Seconds:
    """Return the seconds of a prediction with tables, subtitles and no picture."""
    shutil.rmtree(out, ignore_errors=True)
    began = now()
    options = {"window": WINDOW, "hop": HOP, "pictures": False, "device": "cpu"}
    featstore.predict(run, video, out=out, log=quiet, **options)
    return since(began)


def small(folder: Path, minutes: int) -> Path:
    """Return a recording of 128 x 106 pixels."""
    path = folder / f"small-{minutes}-minutes.mp4"
    if not path.exists():
        once = folder / "small.mp4"
        source = recordings(folder, (INTERVAL,))[INTERVAL]
        with av.open(str(source)) as given, av.open(str(once), "w") as output:
            options = {"g": str(INTERVAL), "x264-params": f"scenecut=0:keyint={INTERVAL}"}
            stream = output.add_stream("libx264", rate=RATE, options=options)
            stream.width, stream.height = SMALL
            for frame in given.decode(video=0):
                output.mux(stream.encode(frame.reformat(*SMALL)))
            output.mux(stream.encode(None))
        part = path.with_suffix(".part")
        repeat(once, part, minutes * 60 * RATE)
        part.rename(path)
    return path


def memory(run: Path, video: Path, out: Path) -> None:
    """Print the most private memory of a prediction in this process, in MB."""
    with Peak(0.25) as seen:
        predicted(run, video, out)
    print((seen.peak - seen.start) / 1e6)


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir(), "featbench"))
    parser.add_argument("--minutes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="0 to measure memory only")
    parser.add_argument("--memory-for", type=int, nargs="*", default=[], metavar="MINUTES")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--memory-of", type=Path, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        memory(*options.memory_of)
        return
    print(machine())
    run, out = trained(options.folder, options.size), options.folder / "predicted"
    print(f"mobilenet_v2, {options.size} pixels, {FPS} fps, windows of {WINDOW:g} s every {HOP} s")
    if options.rounds:
        compare(run, out, options)
    for minutes in options.memory_for:
        path = small(options.folder, minutes)
        command = [sys.executable, __file__, "--memory-of", str(run), str(path), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"| private memory for {minutes} minutes | {float(done.stdout):.0f} MB |")


def compare(run: Path, out: Path, options: argparse.Namespace) -> None:
    """Measure the time beside decoding and the backbone alone, and print it."""
    video = recording(options.folder, INTERVAL, options.minutes)
    ratios, work, speeds = [], [], []
    for number in range(options.rounds + 1):
        both = [lambda: reference(run, video), lambda: predicted(run, video, out)]
        order = (0, 1) if number % 2 else (1, 0)
        seconds = {each: both[each]() for each in order}
        if number:  # the first round warms up
            (alone, alone_work), (whole, whole_work) = seconds[0], seconds[1]
            ratios.append(alone / whole)
            work.append(alone_work / whole_work)
            speeds.append(60 * options.minutes / whole)
            print(f"alone {alone:.1f} s, predict {whole:.1f} s: {ratios[-1]:.3f}")
            print(f"of processors {alone_work:.1f} s, {whole_work:.1f} s: {work[-1]:.3f}")
    print(f"| ratio to decoding and backbone alone | {np.median(ratios):.3f} (at least {LEAST}) |")
    # Other work on the machine disturbs these less.
    print(f"| the same in seconds of the processors | {np.median(work):.3f} |")
    print(f"| seconds of video a second | {np.median(speeds):.2f} |")


if __name__ == "__main__":
    main()
