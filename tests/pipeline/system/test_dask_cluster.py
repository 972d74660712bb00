"""What is said where a scheduler goes away between two requests."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest

distributed = pytest.importorskip("distributed")

from distributed.client import ClosedClientError  # noqa: E402
from distributed.comm.core import CommClosedError  # noqa: E402

from featstore.errors import InputError  # noqa: E402
from pipeline.system.dask_cluster import Cluster  # noqa: E402


class _Future:
    """A call that has ended, whose result is asked for."""

    status = "finished"

    def __init__(self, end: Exception | None) -> None:
        self._end = end

    def add_done_callback(self, call: Callable[[Any], None]) -> None:
        call(self)

    def result(self, timeout: float | None = None) -> bytes:
        if self._end is not None:
            raise self._end
        return pickle.dumps((None, None, "done"))

    def release(self) -> None:
        pass


class _Client:
    """A client whose scheduler goes away at one kind of request."""

    status = "running"

    def __init__(self, request: str, end: Exception) -> None:
        self._request, self._end = request, end

    def _ends(self, request: str) -> None:
        if request == self._request:
            raise self._end

    def nthreads(self) -> dict[str, int]:
        self._ends("nthreads")
        return {"tcp://worker": 1}

    def submit(self, *given: Any, **more: Any) -> _Future:
        self._ends("submit")
        return _Future(self._end if self._request == "result" else None)

    def cancel(self, futures: list[_Future], asynchronous: bool = False) -> None:
        self._ends("cancel")

    def close(self, timeout: float) -> None:
        raise OSError("closed already")


def cluster_of(client: _Client) -> Cluster:
    cluster = Cluster("tcp://there:8786", lambda line: None)
    cluster.__dict__["_client"] = client
    return cluster


@pytest.mark.parametrize(
    ("asked", "end"),
    [
        ("nthreads", CommClosedError("in <TCP>")),
        ("nthreads", TimeoutError("timed out")),
        ("submit", ClosedClientError("Client is closed.")),
        ("result", CommClosedError("in <TCP>")),
        ("result", CancelledError("a-key")),
    ],
)
def test_a_scheduler_that_goes_away_is_named(asked: str, end: Exception) -> None:
    with (
        pytest.raises(InputError, match=r"tcp://there:8786.*gone"),
        cluster_of(_Client(asked, end)) as cluster,
    ):
        cluster.call("module:function", None)


@pytest.mark.parametrize("asked", ["nthreads", "submit", "cancel"])
def test_a_scheduler_that_goes_away_while_all_workers_are_asked(asked: str) -> None:
    client = _Client(asked, CommClosedError("in <TCP>"))
    with pytest.raises(InputError, match="is gone"), cluster_of(client) as cluster:
        cluster.everywhere("module:function", None)


def test_a_scheduler_that_stays_answers() -> None:
    with cluster_of(_Client("none", OSError())) as cluster:
        assert cluster.call("module:function", None) == "done"
        assert cluster.everywhere("module:function", None) == ["done"]
