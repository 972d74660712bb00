"""Write a run as ONNX and `torch.export`, compared with the run on real windows."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featstore.errors import InputError, MissingPackageError
from pipeline.build.extract.extractor import Extractor
from pipeline.build.plan.build_plan import cache_of
from pipeline.build.plan.steps import Segment, check_rate
from pipeline.deploy.card import model_card
from pipeline.deploy.modules import FrameFormat, HeadModel, WholeModel
from pipeline.predict.recording import classified, window_sums
from pipeline.predict.trained import Trained, lengths, load_trained
from pipeline.predict.window_store import Rows
from pipeline.predict.windows import Windows, slide
from pipeline.types import Floats, Log
from pipeline.video.cache import Cache
from pipeline.video.decode import Lost, decode_all
from pipeline.video.pixels import value_scale
from pipeline.video.videos import Video, read_videos

EXPORTED = ("none", "train", "clip")
MOST_WINDOWS = 8
TOLERANCE = 1e-4
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
CARD = "README.md"


@dataclass(frozen=True, slots=True)
class Sample:
    """A window of a recording, for comparison.

    Attributes
    ----------
    frames : uint8 array
        As `FrameFormat` says.
    features : float32 array (steps, dim)
    probabilities : float64 array (classes,)
        Of the run.
    """

    frames: Any
    features: Rows
    probabilities: Floats


def export_model(
    run: Path,
    out: Path,
    video: Path,
    *,
    window: float | None = None,
    weights: str | None = None,
    log: Log,
) -> dict[str, Any]:
    """Write the models of a run, their metadata and a model card to a new folder.

    Parameters
    ----------
    run : Path
    out : Path
        Must not exist, or be empty.
    video : Path
        A recording like those that the model is for: it gives the size and range of frames, and
        the windows that the models are compared on.
    window : float, optional
        Seconds; by default the median length of the training clips.
    weights : str, optional
        The backbone's weights file, where it has moved.
    log : callable

    Returns
    -------
    dict
        ``out``, ``windows``, ``difference``: the largest one of probabilities, by file.

    Raises
    ------
    InputError
        If the run cannot be exported, or an exported model differs from it by more than 1e-4.
    MissingPackageError
        If a package of the extra ``export`` is not installed.
    """
    _check_packages()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not an empty folder; name another one.")
    with TemporaryDirectory() as scratch, closing(cache_of(Path(scratch))) as cache:
        files = [weights] if weights else []
        trained = load_trained(run, cache, weights=files, device="cpu", log=log)
        _check_run(trained)
        recording = _recording(video, trained, cache, log)
        seconds, _ = lengths(run, trained, window, None)
        fps, window_frames = trained.first.pixels.fps, trained.first.window
        windows = slide(recording.index, fps, seconds, seconds / 2, window_frames)
        form, samples = _samples(trained, recording, windows)
    head = HeadModel(trained, len(samples[0].features)).eval()
    whole = WholeModel(trained, head, form).eval()
    metadata = _metadata(trained, form, seconds, len(samples[0].features))
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(f"{out}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        difference = _write(unfinished, head, whole, samples, metadata, log)
        metadata["difference"] = difference
        (unfinished / "metadata.json").write_text(json.dumps(metadata, indent=1) + "\n", "utf-8")
        (unfinished / CARD).write_text(model_card(run, metadata), "utf-8")
        if out.exists():
            out.rmdir()
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return {"out": out, "windows": len(samples), "difference": difference}


def _check_packages() -> None:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            f"featstore export-model needs {', '.join(missing)}; run: pip install "
            f"{' '.join(missing)} (or, in a checkout: pip install '.[export]')"
        )


def _check_run(trained: Trained) -> None:
    if len(trained.members) > 1:
        raise InputError(
            f"{trained.run} was trained on {len(trained.members)} stores, and one backbone is "
            "exported; train on one store."
        )
    if trained.standardise not in EXPORTED:
        raise InputError(
            f"The features of {trained.run} are standardised by {trained.standardise}, which one "
            f"window does not tell; train with data.standardise {', '.join(EXPORTED)}."
        )
    precision = trained.first.forward.extraction.precision
    if precision != "float32":
        raise InputError(
            f"{trained.run} was trained on features in {precision}, and exported models compute "
            "in float32; build without --precision."
        )


def _recording(path: Path, trained: Trained, cache: Cache, log: Log) -> Video:
    if path.is_dir():
        raise InputError(f"{path} is a folder; name one video.")
    (video,) = read_videos({path.name: path}, cache, image_rate=None, workers=1, log=log)
    check_rate([video], trained.first.pixels.fps)
    if video.index.bits > 8:
        raise InputError(
            f"{path} has values of {video.index.bits} bits, and exported models take 8; name a "
            "video of 8 bits."
        )
    return video


def _samples(trained: Trained, video: Video, windows: Windows) -> tuple[FrameFormat, list[Sample]]:
    """Return the format of frames, and some windows of one length with what the run says."""
    index, mode = video.index, trained.first.pixels.mode
    rows = list(_features(trained, video, windows))
    step_counts = [len(steps) for steps in windows.rows]
    usual = max(set(step_counts), key=step_counts.count)
    whole = [
        number
        for number, steps in enumerate(windows.rows)
        if len(steps) == usual and not any(isinstance(rows[row], str) for row in steps)
    ]
    if not whole:
        raise InputError(f"{video.path} has no window that decodes; name another video.")
    spread = np.unique(np.linspace(0, len(whole) - 1, MOST_WINDOWS).round().astype(int))
    samples = []
    for number in (whole[position] for position in spread):
        steps = windows.rows[number]
        features = np.stack([rows[row] for row in steps])
        sums = window_sums(trained, features, np.zeros(1 + 2 * trained.dim))
        logs = classified(trained, [features], [sums]).log_probabilities[0]
        taken = _frames_of(windows.inputs[steps], trained)
        samples.append(Sample(_pictures(video, taken, mode), features, np.exp(logs)))
    first = samples[0].frames
    offset, span = value_scale(index, mode, first.dtype)
    frames, height, width = first.shape[:3]
    form = FrameFormat(frames, height, width, 1 if mode == "luma" else 3, offset, span)
    return form, [sample for sample in samples if sample.frames.shape == first.shape]


def _features(trained: Trained, video: Video, windows: Windows) -> Any:
    extractor = Extractor(trained.first.forward, [video], trained.first.statistics)
    segment = Segment(0, windows.inputs, np.arange(len(windows.inputs)))
    return extractor.stream(segment, lambda inputs, frames: None)


def _frames_of(inputs: Any, trained: Trained) -> Any:
    """Return the frames of a window, in order."""
    return np.unique(inputs) if trained.first.window else inputs[:, 0]


def _pictures(video: Video, frames: Any, mode: Any) -> Any:
    pictures: dict[int, Any] = {}
    for item in decode_all(video.path, video.index, np.unique(frames), mode):
        if isinstance(item, Lost):
            raise InputError(f"{video.path}: {item.reason}; name another video.")
        pictures[item[0]] = np.asarray(item[1])
    return np.stack([pictures[number] for number in frames.tolist()])


def _metadata(trained: Trained, form: FrameFormat, seconds: float, steps: int) -> dict[str, Any]:
    """Return what a program must know to use the models."""
    fps = trained.first.pixels.fps
    return {
        "run": trained.run.resolve().name,
        "classes": list(trained.classes),
        "window_seconds": seconds,
        "fps": None if fps is None else float(fps),
        "steps": steps,
        "features": trained.dim,
        "frames": asdict(form),
        "pixels": trained.first.pixels.mode,
        "statistics": {"mean": trained.first.statistics.mean, "std": trained.first.statistics.std},
        "standardise": trained.standardise,
        "feature_configuration": trained.first.like.features,
        "backbone": trained.first.like.backbone,
        "backbone_weights": trained.first.like.weights,
    }


def _write(
    folder: Path,
    head: HeadModel,
    whole: WholeModel,
    samples: Sequence[Sample],
    metadata: dict[str, Any],
    log: Log,
) -> dict[str, float]:
    """Write both models in both formats, and return their largest differences from the run."""
    features = [torch.from_numpy(sample.features) for sample in samples]
    frames = [torch.from_numpy(sample.frames) for sample in samples]
    difference: dict[str, float] = {}
    for name, module, inputs in (("head", head, features), ("model", whole, frames)):
        program = _program(module, inputs[0])
        text = json.dumps(metadata)
        torch.export.save(program, folder / f"{name}.pt2", extra_files={"featstore.json": text})
        _write_onnx(folder / f"{name}.onnx", program, name, text)
        for suffix, run_model in (("pt2", _run_program), ("onnx", _run_onnx)):
            path = folder / f"{name}.{suffix}"
            outputs = run_model(path, inputs)
            apart = max(
                float(np.abs(output - sample.probabilities).max())
                for output, sample in zip(outputs, samples, strict=True)
            )
            difference[path.name] = apart
            log(f"{path.name}: probabilities differ from the run's by at most {apart:.1e}")
            if not apart <= TOLERANCE:
                raise InputError(
                    f"{path.name} differs from the run by {apart:.1e} on real windows, above "
                    f"{TOLERANCE:g}, so nothing is exported; report the run's recipe and backbone."
                )
    return difference


def _program(module: nn.Module, example: Tensor) -> Any:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch's own code
        return torch.export.export(module, (example,))


def _write_onnx(path: Path, program: Any, name: str, metadata: str) -> None:
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program,
            dynamo=True,
            input_names=["features" if name == "head" else "frames"],
            output_names=["probabilities"],
            verbose=False,
        )
    assert made is not None  # noqa: S101 - as dynamo is true
    made.save(str(path), external_data=False)
    model = onnx.load(path)
    model.metadata_props.add(key="featstore", value=metadata)
    onnx.save(model, path)


def _run_onnx(path: Path, inputs: Sequence[Tensor]) -> list[Floats]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (name,) = (node.name for node in session.get_inputs())
    return [session.run(None, {name: one.numpy()})[0].astype(np.float64) for one in inputs]


def _run_program(path: Path, inputs: Sequence[Tensor]) -> list[Floats]:
    with warnings.catch_warnings():  # torch 2.11 warns of how it reads its own file
        warnings.filterwarnings("ignore", "The given buffer is not writable")
        module = torch.export.load(path).module()
    with torch.no_grad():
        return [module(one).double().numpy() for one in inputs]
