"""The decoder that an option names."""

from __future__ import annotations

from functools import partial
from typing import Any

from featstore.errors import InputError
from pipeline.video.decode import Decode, decode
from pipeline.video.torchcodec import _reason, decode_with_torchcodec


def decoding(name: str) -> Decode:
    """Return what decodes as ``--decoder`` says; see `pipeline.build.plan.options.DECODERS`.

    Raises
    ------
    InputError
        If it cannot be used here; nothing else decodes in its place.
    """
    if name == "pyav":
        return decode
    versions(name)
    return partial(decode_with_torchcodec, device=name.partition(":")[2])


def versions(name: str) -> dict[str, Any]:
    """Return what decides the last bits of the decoder's pixels, beside PyAV's version.

    Raises
    ------
    InputError
        If the decoder cannot be used here.
    """
    if name == "pyav":
        return {}
    try:
        import torchcodec
    except ModuleNotFoundError:
        raise InputError(
            f"--decoder is {name}, which needs torchcodec: pip install torchcodec, "
            "or give --decoder pyav."
        ) from None
    except (ImportError, OSError, RuntimeError) as error:
        raise InputError(
            f"--decoder is {name}, and torchcodec cannot be loaded ({_reason(error)}); it needs "
            "FFmpeg's shared libraries, and one built for CUDA needs torch for CUDA: see "
            "docs/decoding.md, or give --decoder pyav."
        ) from None
    import torch

    if name.endswith("cuda") and not torch.cuda.is_available():
        raise InputError(
            f"--decoder is {name}, and torch finds no CUDA device here; give --decoder "
            "torchcodec:cpu or pyav, of which features have keys of their own."
        )
    return {"torchcodec": torchcodec.__version__, "its_ffmpeg": torchcodec.ffmpeg_major_version}
