"""Features stored as float16, and what that costs."""

import re

import numpy as np
import pytest

import featstore
from featstore.errors import InputError
from featstore.format.codecs import Codec
from featstore.writing.writer import StoreWriter
from tests.stores import features
from tests.writing import SIZES, made, units, write


def test_the_error_of_float16_is_that_of_numpy(final) -> None:
    rows = features(SIZES) * np.float32(37)
    rows[5] = np.nan  # a clip that failed
    codec = Codec("float16")
    writer = StoreWriter(final, made(codec=codec))
    write(writer, [3, 0, 1], rows)
    writer = StoreWriter(final, made(codec=codec))  # what was known of units is kept
    write(writer, writer.missing, rows)
    whole = np.delete(rows, 5, axis=0).astype(np.float64)
    error = whole.astype(np.float32).astype(np.float16).astype(np.float64) - whole
    found = writer.float16_error()
    assert found is not None
    relative = np.sqrt((error**2).sum() / (whole**2).sum())
    assert found["relative_rms"] == pytest.approx(relative, rel=1e-12)
    assert found["largest_absolute"] == np.abs(error).max()
    assert 1e-5 < relative < 2**-11
    writer.seal()
    stored = np.concatenate(list(featstore.open(final)))
    assert stored.tobytes() == rows.astype(np.float16).tobytes()


def test_float32_has_no_such_error(final) -> None:
    writer = StoreWriter(final, made())
    write(writer, units())
    assert writer.float16_error() is None


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("value", [65520.0, -1e5, 3e38])
def test_a_value_beyond_float16_is_refused(final, value: float, failed: bool) -> None:
    rows = features(SIZES)
    rows[2, 1] = value
    if failed:  # the rows of a failed clip in the same unit hide nothing
        rows[10] = np.nan
    writer = StoreWriter(final, made(codec=Codec("float16")))
    said = rf"is {re.escape(f'{abs(value):g}')}, but float16 .* 65504; use --dtype float32"
    with pytest.raises(InputError, match=said):
        write(writer, [0], rows)
    assert 0 in writer.missing
    rows[2, 1] = 65504
    write(writer, [0], rows)
    assert writer.missing == list(units())[1:]


def test_infinite_features_stay_infinite(final) -> None:
    rows = features(SIZES)
    rows[2, 1] = np.inf
    writer = StoreWriter(final, made(codec=Codec("float16")))
    write(writer, units(), rows)
    writer.seal()
    assert np.isinf(featstore.open(final)[0][2, 1])
