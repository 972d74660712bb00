from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from types import NoneType
from typing import get_args, get_type_hints

import pytest

from featstore.errors import InputError
from pipeline.sources import sources
from pipeline.sources.table import Table


def test_finds_every_source() -> None:
    assert list(sources()) == ["boris", "driveact", "folders", "lists", "openlabel", "table"]


def test_loads_nothing_heavy() -> None:
    code = (
        "import sys; from pipeline.sources import sources; sources(); "
        "print([name for name in ('torch', 'zarr', 'av', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_flags_of_one_name_have_one_type() -> None:
    types: dict[str, set[type]] = {}
    for source in sources().values():
        hints = get_type_hints(source)
        for entry in dataclasses.fields(source):  # type: ignore[arg-type]
            assert entry.metadata["help"]
            kinds = get_args(hints[entry.name]) or (hints[entry.name],)
            types.setdefault(entry.name, set()).update(set(kinds) - {NoneType})
    assert {name: kinds for name, kinds in types.items() if len(kinds) > 1} == {}


def test_refuses_a_value_that_is_no_choice() -> None:
    with pytest.raises(InputError, match='--unit "minutes" is unknown; choose from frames, sec'):
        Table(data=Path("clips.csv"), unit="minutes")
