"""Select the decoder that `--decoder` names."""

from __future__ import annotations

from functools import partial
from typing import Any

from featstore.errors import InputError
from pipeline.video.decode import Decode, decode
from pipeline.video.torchcodec import _reason, decode_with_torchcodec


def decoding(name: str) -> Decode:
    """Return the decode function for ``--decoder``; see `pipeline.build.plan.options.DECODERS`.

    Raises
    ------
    InputError
        If the decoder cannot be used here; there is no fallback.
    """
    if name == "pyav":
        return decode
    versions(name)
    return partial(decode_with_torchcodec, device=name.partition(":")[2])


def versions(name: str) -> dict[str, Any]:
    """Return the versions that determine the decoder's pixels, in addition to PyAV's.

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
            "or pass --decoder pyav."
        ) from None
    except (ImportError, OSError, RuntimeError) as error:
        raise InputError(
            f"--decoder is {name}, but torchcodec cannot be loaded ({_reason(error)}); it needs "
            "FFmpeg's shared libraries, and a CUDA build needs torch for CUDA: see "
            "docs/decoding.md, or pass --decoder pyav."
        ) from None
    import torch

    if name.endswith("cuda") and not torch.cuda.is_available():
        raise InputError(
            f"--decoder is {name}, but torch finds no CUDA device here; pass --decoder "
            "torchcodec:cpu or pyav. Each decoder has its own store keys."
        )
    return {"torchcodec": torchcodec.__version__, "its_ffmpeg": torchcodec.ffmpeg_major_version}
