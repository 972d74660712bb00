"""Units that other software or hardware computed are mixed on request only, and marked."""

import numpy as np
import pytest

import featstore
from featstore.errors import InputError
from featstore.writing.writer import StoreWriter
from tests.stores import features
from tests.writing import SIZES, made, write

OLD = {"torch": "2.6.0", "device": "cpu", "batch": 16}
NEW = {"torch": "2.7.0", "device": "cpu", "batch": 16}


def test_other_numerics_are_refused_by_name(final) -> None:
    write(StoreWriter(final, made(numerics=OLD)), [0])
    with pytest.raises(InputError, match=r"torch.*2\.6\.0.*2\.7\.0.*--allow-mixed-numerics"):
        StoreWriter(final, made(numerics=NEW))
    # Nothing was changed by the refusal.
    assert sorted(StoreWriter(final, made(numerics=OLD)).done) == [0]


def test_other_numerics_go_on_where_it_is_allowed(final) -> None:
    write(StoreWriter(final, made(numerics=OLD)), [0])
    writer = StoreWriter(final, made(numerics=NEW), mixed_numerics=True)
    assert sorted(writer.done) == [0]
    write(writer, writer.missing)
    writer.seal()
    store = featstore.open(final)
    assert store.attributes["numerics"] == OLD
    (changed,) = store.attributes["mixed_numerics"]
    assert "torch" in changed
    np.testing.assert_array_equal(np.concatenate(list(store)), features(SIZES))


def test_a_mixture_is_not_forgotten(final) -> None:
    write(StoreWriter(final, made(numerics=OLD)), [0])
    write(StoreWriter(final, made(numerics=NEW), mixed_numerics=True), [1])
    writer = StoreWriter(final, made(numerics=OLD))
    assert sorted(writer.done) == [0, 1]
    write(writer, writer.missing)
    writer.seal()
    (changed,) = featstore.open(final).attributes["mixed_numerics"]
    assert "torch" in changed


def test_the_same_numerics_are_no_mixture(final) -> None:
    write(StoreWriter(final, made(numerics=OLD)), [0])
    writer = StoreWriter(final, made(numerics=OLD), mixed_numerics=True)
    write(writer, writer.missing)
    writer.seal()
    assert "mixed_numerics" not in featstore.open(final).attributes
