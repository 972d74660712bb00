import threading
from itertools import count

import pytest

from pipeline.read_ahead import read_ahead


def test_order_is_kept() -> None:
    with read_ahead(iter(range(100)), most=3) as items:
        assert list(items) == list(range(100))


def test_at_most_so_many_wait() -> None:
    made: list[int] = []

    def numbers():
        for number in range(50):
            made.append(number)
            yield number

    with read_ahead(numbers(), most=2) as items:
        for number in items:
            # Two wait, and one more is in the producer's hands.
            assert len(made) <= number + 1 + 2 + 1 + 1


def test_an_error_reaches_the_reader_behind_what_came_before() -> None:
    def broken():
        yield 1
        yield 2
        raise ValueError("third")

    with read_ahead(broken()) as items:
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(ValueError, match="third"):
            next(items)


@pytest.mark.parametrize("error", [None, KeyError])
def test_the_thread_ends_with_the_context(error) -> None:
    def early() -> None:
        with read_ahead(count(), most=2) as items:
            assert next(items) == 0
            if error:
                raise error

    before = threading.active_count()
    if error:
        with pytest.raises(error):
            early()
    else:
        early()
    assert threading.active_count() == before


def test_nothing_to_read() -> None:
    with read_ahead([]) as items:
        assert list(items) == []
