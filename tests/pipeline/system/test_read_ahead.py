import threading
from itertools import count

import pytest

from pipeline.system.read_ahead import read_ahead


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_order_is_kept(threads: int) -> None:
    streams = (range(first, first + 7) for first in range(0, 70, 7))
    with read_ahead(streams, threads=threads, most=3) as items:
        assert list(items) == list(range(70))


@pytest.mark.parametrize("threads", [1, 3])
def test_at_most_so_many_streams_run_and_so_many_items_wait(threads: int) -> None:
    begun: list[int] = []
    made: list[tuple[int, int]] = []

    def numbers(stream: int):
        begun.append(stream)
        for number in range(20):
            made.append((stream, number))
            yield stream, number

    with read_ahead((numbers(s) for s in range(6)), threads=threads, most=2) as items:
        for stream, number in items:
            assert len(begun) <= stream + threads
            # Two wait, and one more is in the producer's hands.
            assert sum(own == stream for own, _ in made) <= number + 1 + 2 + 1 + 1


def test_streams_run_side_by_side() -> None:
    meeting = threading.Barrier(2)

    def numbers():
        meeting.wait(60)  # broken unless the other stream comes too
        yield 1

    with read_ahead([numbers(), numbers()], threads=2) as items:
        assert list(items) == [1, 1]


def test_an_error_reaches_the_reader_behind_what_came_before() -> None:
    def broken():
        yield 1
        yield 2
        raise ValueError("third")

    with read_ahead([broken(), [3]], threads=2) as items:
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(ValueError, match="third"):
            next(items)


@pytest.mark.parametrize("error", [None, KeyError])
def test_the_threads_end_with_the_context(error) -> None:
    def early() -> None:
        with read_ahead([count(), count()], threads=2, most=2) as items:
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
    with read_ahead([[], [1], []]) as items:
        assert list(items) == [1]
