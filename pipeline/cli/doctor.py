"""``featstore doctor``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from featstore.text import count_of, human_size
from pipeline.cli.flags import FOLDER
from pipeline.cli.help import as_json, command
from pipeline.cli.terminal import say, say_json


@command(examples=("featstore doctor", "featstore doctor --stores /data/features --json"))
@FOLDER
@as_json
def doctor(folder: Path, as_json: bool) -> None:
    """Show versions, devices, codecs and disk, and what would be slow or is missing.

    Each finding has the command that mends it. The exit code is 1 if an installed package is
    broken.
    """
    from pipeline.cli.doctor_advice import advice
    from pipeline.cli.doctor_facts import facts

    machine = facts(folder)
    advised = advice(machine)
    if as_json:
        say_json({**machine, "advice": [each._asdict() for each in advised]})
    else:
        for title, text in _rows(machine):
            say(f"{title:<13}{text}")
        for each in advised:
            say(f"\n{each.kind}: {each.what}\n  {each.remedy}")
        if not advised:
            say("\nNothing is missing or slow.")
    sys.exit(1 if any(each.kind == "broken" for each in advised) else 0)


def _rows(machine: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield titles and facts."""
    yield (
        "featstore",
        f"{machine['featstore'] or 'not installed'}, Python {machine['python']}, "
        f"{machine['system']}",
    )
    for extra, packages in machine["extras"].items():
        shown = [f"{each['name']} {each['version'] or '(missing)'}" for each in packages]
        yield f"  {extra}", ", ".join(shown)
    processor, gpus = machine["processor"], machine["gpus"]
    free = processor["memory_free"]
    yield (
        "processor",
        ", ".join(
            [
                count_of(processor["processors"], "processor"),
                *([processor["instructions"]] if "instructions" in processor else []),
                *(["bfloat16"] if processor.get("bf16") else []),
                *([f"{human_size(free)} of memory free"] if free is not None else []),
            ]
        ),
    )
    devices = [
        f"{each['name']} ({human_size(each['memory'])}, capability {each['capability']})"
        for each in gpus["devices"]
    ]
    yield "GPU", ", ".join(devices) or "none"
    threads = machine["threads"]
    yield "threads", "torch is not installed" if threads["torch"] is None else str(threads["torch"])
    yield "codecs", _codecs(machine["decoders"])
    yield "disk", f"{human_size(machine['disk']['free'])} free in {machine['disk']['folder']}"


def _codecs(decoders: dict[str, Any]) -> str:
    if decoders["ffmpeg"] is None:
        return "PyAV is not installed"
    missing = f"; not {', '.join(decoders['missing'])}" if decoders["missing"] else ""
    return f"FFmpeg {decoders['ffmpeg']} decodes {', '.join(decoders['codecs'])}{missing}"
