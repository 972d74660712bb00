from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from featstore.errors import InputError
from featstore.keys import digest
from pipeline.build.plan.failure_limit import FailureLimit
from pipeline.build.plan.options import BuildOptions, feature_configuration
from pipeline.video.modes import PixelSpec


def options(**more) -> BuildOptions:
    return BuildOptions(source=None, **more)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"backbone": "resnet81"}, ["'resnet81'", "did you mean 'resnet18'"]),
        ({"backbone": "vit_b_16", "size": 128}, ["--size is 128", "--size 224"]),
        ({"fit": "stretch"}, ["--fit is 'stretch'", "squash, crop, pad or crop:EDGE"]),
        ({"fit": "crop:x"}, ["--fit is 'crop:x'"]),
        ({"fit": "crop:200"}, ["--fit is crop:200", "--size 224", "crop:224"]),
        ({"resample": "nearest"}, ["--resample is 'nearest'", "bilinear, bicubic"]),
        ({"backbone": "hf:dinov2"}, ["hf:dinov2", "hf:FOLDER"]),
        ({"precision": "float64"}, ["--precision is 'float64'", "float32, tf32, bf16, fp16"]),
        *(({name: 0}, [f"--{name.replace('_', '-')} is 0"]) for name in
          ("size", "window", "hop", "workers", "batch_size", "min_frames")),
    ],
)  # fmt: skip
def test_refused(given: dict, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        options(**given)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("split", ((), ())),
        ("imagenet", ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        ("0.4,0.2", ((0.4,), (0.2,))),
        (".1,.2,.3,.4,.5,.6", ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))),
    ],
)
def test_normalisation(text: str, expected) -> None:
    normalise = options(normalise=text).normalise
    assert (normalise.mean, normalise.std) == expected
    assert str(normalise) == text


@pytest.mark.parametrize(
    "text", ["", "image", "0.4", "0.4,0", "0.4,-1", "1,2,3", "nan,1", "0.5,nan", "0.5,inf", "1;2"]
)
def test_normalisation_refused(text: str) -> None:
    with pytest.raises(InputError, match="--normalise"):
        options(normalise=text)


def configured(pixels="luma", fps=None, weights="random:0", **more) -> str:
    made = options(**more)
    spec = PixelSpec(pixels, fps, made.decoder)
    return digest(feature_configuration(made, spec, weights))


@pytest.mark.parametrize(
    "change",
    [
        {"pixels": "rgb"},
        {"fps": Fraction(10)},
        {"weights": "random:1"},
        {"size": 112},
        {"fit": "pad"},
        {"normalise": "imagenet"},
        {"normalise": "0.4,0.2"},
        {"backbone": "resnet50"},
        {"backbone": "r3d_18"},
        {"image_fps": Fraction(5)},
        {"precision": "bf16"},
    ],
)
def test_what_decides_features_is_in_the_configuration(change: dict) -> None:
    assert configured(**change) != configured()


@pytest.mark.parametrize(
    "change",
    [{"workers": 3}, {"batch_size": 2}, {"device": "cuda"}, {"window": 8}, {"hop": 2}],
)
def test_what_does_not_decide_them_is_not(change: dict) -> None:
    assert configured(**change) == configured()


@pytest.mark.parametrize("change", [{"window": 8}, {"hop": 2}])
def test_windows_count_for_video_backbones(change: dict) -> None:
    assert configured(backbone="r3d_18", **change) != configured(backbone="r3d_18")


def test_float32_leaves_no_trace_in_the_configuration() -> None:
    found = feature_configuration(options(), PixelSpec("luma", None), "random:0")
    assert "precision" not in found
    reduced = feature_configuration(options(precision="tf32"), PixelSpec("luma", None), "random:0")
    assert reduced == found | {"precision": "tf32"}


def test_numbers_written_differently_are_the_same() -> None:
    assert configured(normalise="0.40,.2") == configured(normalise="0.4,0.2")
    assert configured(fps=Fraction("10.0")) == configured(fps=Fraction(10))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("pixels", "grey", ["luma", "rgb"]),
        ("decoder", "opencv", ["pyav"]),
        ("dtype", "float64", ["float32", "float16"]),
        ("format", "npz", ["zarr", "hdf5"]),
        ("compression", "gzip", ["zstd", "blosc"]),
        ("fps", 0, ["30000/1001"]),
        ("fps", "fast", ["30000/1001"]),
        ("fps", float("nan"), ["30000/1001"]),
        ("image_fps", -1.5, ["30000/1001"]),
        ("size", 224.5, ["whole number"]),
        ("size", True, ["whole number"]),
        ("size", "224", ["whole number"]),
        ("window", None, ["whole number"]),
        ("repair", "no", ["True or False"]),
        ("backbone", None, ["text"]),
        ("device", ["cuda"], ["text"]),
        ("store", "s3://bucket/features", ["bucket"]),
    ],
)
def test_refused_from_python(field: str, value: object, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        options(**{field: value})
    flag = f"--{field.replace('_', '-')}"
    assert all(word in str(caught.value) for word in (flag, repr(value), *words))


@pytest.mark.parametrize(
    ("field", "value", "normal"),
    [
        ("fps", 8, Fraction(8)),
        ("fps", 8.0, Fraction(8)),
        ("fps", np.float32(8), Fraction(8)),
        ("fps", 29.97, Fraction("29.97")),
        ("fps", "30000/1001", Fraction(30000, 1001)),
        ("size", 64.0, 64),
        ("size", np.int64(64), 64),
        ("max_failures", 3, FailureLimit(3)),
        ("max_failures", "1%", FailureLimit(percent=1.0)),
        ("max_failures", FailureLimit(3), FailureLimit(3)),
        ("weights", Path("a.pth"), "a.pth"),
        ("store", "features", Path("features")),
    ],
)
def test_one_value_has_one_form(field: str, value: object, normal: object) -> None:
    made = getattr(options(**{field: value}), field)
    assert made == normal
    assert type(made) is type(normal) or isinstance(made, Path)


def test_every_spelling_of_a_rate_has_the_key_of_the_flag() -> None:
    rates = [options(fps=value).fps for value in (8, 8.0, "8", Fraction(8))]
    keys = {configured(fps=rate) for rate in rates}
    assert keys == {configured(fps=Fraction("8"))}
