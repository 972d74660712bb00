"""Workers on Dask: connecting to them, and calling a function on many of them.

Nothing here knows what the function does. The workers find it in their own installation, see
`featstore.remote`; only its argument and its result travel.
"""

from __future__ import annotations

import os
import pickle
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from queue import Empty, Queue
from types import TracebackType
from typing import TYPE_CHECKING, Any

from featstore import remote
from featstore.errors import InputError
from pipeline.system.dask_schedulers import LOCAL, address_of, check_spec, local_cluster
from pipeline.system.interrupts import held_interrupts
from pipeline.types import Log

if TYPE_CHECKING:
    from distributed import Client, Future

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_CONNECT = 30
SECONDS_TO_ANSWER = 120
SECONDS_BETWEEN_LINES = 60.0
# Calls that wait at each thread of a worker, so that none is ever idle.
WAITING = 2
# A call is started a second time where workers are idle and it takes this many times the median.
STRAGGLES = 3.0
SECONDS_TO_STRAGGLE = 30.0


@dataclass(slots=True)
class _Call:
    """A call that runs, perhaps on several workers."""

    number: int
    payload: bytes
    since: float
    futures: list[Future]


class Cluster:
    """Workers, connected to when the first call is made.

    Parameters
    ----------
    spec : str
        ``local:N`` starts N processes here, one for each GPU where there are some; anything else is
        the address of a scheduler, such as ``tcp://host:8786``, or a scheduler file.
    log : callable
    """

    def __init__(self, spec: str, log: Log) -> None:
        check_spec(spec)
        self._spec, self._log = spec, log
        self._local: Any = None
        self._connected: Any = None
        self._environment: dict[str, str] = {}

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._connected is not None:
            with suppress(Exception):  # the connection may be what failed
                self._connected.close(timeout=5)
        if self._local is not None:
            with suppress(Exception):
                self._local.close(timeout=10)
            os.environ.clear()
            os.environ.update(self._environment)

    @cached_property
    def _client(self) -> Client:
        try:
            from distributed import Client
        except ImportError:
            raise InputError("--dask needs Dask; pip install distributed.") from None
        if not self._spec.startswith(LOCAL):
            self._connected = _connect(Client, address_of(self._spec), self._spec)
        else:
            # Dask sets variables of this process for those that it starts, and leaves them so.
            self._environment = dict(os.environ)
            with held_interrupts():
                self._local = local_cluster(int(self._spec.removeprefix(LOCAL)))
                self._connected = _connect(Client, self._local, self._spec)
        client = self._connected
        self._log(f"{len(client.nthreads())} workers at {client.scheduler.address}")
        self._log(f"dashboard: {client.dashboard_link}")
        return client

    def call(self, target: str, argument: Any) -> Any:
        """Call a function on one worker and return its result.

        Raises
        ------
        FeatstoreError
            If it ends with one, or the scheduler is gone.
        """
        return next(self.map(target, [argument]))[1]

    def everywhere(self, target: str, argument: Any) -> list[Any]:
        """Call a function on every worker that is there now; those that keep silent are left out.

        Raises
        ------
        FeatstoreError
            If a call ends with one.
        """
        payload, name = pickle.dumps(argument), f"{target}-{os.urandom(4).hex()}"
        with _asking(self._spec):
            futures = [
                self._client.submit(
                    remote.call,
                    target,
                    payload,
                    workers=[address],
                    key=f"{name}-{address}",
                    pure=False,
                )
                for address in self._client.nthreads()
            ]
        answers, end = [], time.monotonic() + SECONDS_TO_ANSWER
        for own in futures:
            with suppress(Exception):  # of a worker that is gone or hangs, which `map` can bear
                answers.append(own.result(timeout=max(0.1, end - time.monotonic())))
        with _asking(self._spec):
            self._client.cancel([own for own in futures if own.status == "pending"])
        return [remote.result(answer) for answer in answers]

    def map(self, target: str, arguments: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """Call a function on workers, a bounded number of times at once.

        Parameters
        ----------
        target : str
            See `featstore.remote.call`.
        arguments : iterable
            Taken one after the other, as workers have room.

        Yields
        ------
        number : int
            Place among the arguments; results come in the order in which they are ready.
        result : object

        Raises
        ------
        FeatstoreError
            If a call ends with one, workers die with a call again and again, or the scheduler is
            gone.
        """
        waiting = enumerate(arguments)
        calls: dict[int, _Call] = {}
        finished: Queue[Future] = Queue()
        durations: list[float] = []
        watch = _Watch(self._client, self._spec, self._log)

        def start(call: _Call) -> None:
            name = f"{target}-{call.number}-{len(call.futures)}-{os.urandom(4).hex()}"
            with _asking(self._spec):
                future = self._client.submit(
                    remote.call, target, call.payload, key=name, pure=False
                )
            call.futures.append(future)
            future.add_done_callback(finished.put)

        try:
            while True:
                for number, argument in islice(waiting, max(0, watch.room() - len(calls))):
                    call = _Call(number, pickle.dumps(argument), time.monotonic(), [])
                    calls[number] = call
                    start(call)
                if not calls:
                    return
                try:
                    future = finished.get(timeout=SECONDS_BETWEEN_LOOKS)
                except Empty:
                    watch.look()
                    for call in watch.stragglers(calls.values(), durations):
                        start(call)
                    continue
                found = next((own for own in calls.values() if future in own.futures), None)
                if found is None:  # a second start of a call that has ended
                    continue
                answer = watch.answer(future)
                del calls[found.number]
                durations.append(time.monotonic() - found.since)
                for other in found.futures:
                    other.release()
                yield found.number, answer
        finally:
            left = [future for call in calls.values() for future in call.futures]
            if left:
                with suppress(Exception):  # also where the scheduler is gone
                    self._client.cancel(left, asynchronous=False)


class _Watch:
    """What is known of the workers while calls run."""

    def __init__(self, client: Client, spec: str, log: Log) -> None:
        self._client, self._spec, self._log = client, spec, log
        self._threads, self._asked = 0, -float("inf")
        self._said = time.monotonic()

    def room(self) -> int:
        """Return how many calls may be on their way at once."""
        now = time.monotonic()
        if now - self._asked > SECONDS_BETWEEN_LOOKS:
            with _asking(self._spec):
                self._threads, self._asked = sum(self._client.nthreads().values()), now
        return max(1, WAITING * self._threads)

    def look(self) -> None:
        """Say so where no worker is there, and stop where the scheduler is gone."""
        if self._client.status != "running":
            raise _gone(self._spec)
        now = time.monotonic()
        if self._threads == 0 and now - self._said > SECONDS_BETWEEN_LINES:
            self._log(f"no worker is connected to {self._spec}; waiting for one")
            self._said = now

    def stragglers(self, calls: Iterable[_Call], durations: list[float]) -> list[_Call]:
        """Return a call to start once more, where all that is left is waited for."""
        calls = list(calls)
        if not durations or self._threads <= len(calls):
            return []
        patience = max(SECONDS_TO_STRAGGLE, STRAGGLES * statistics.median(durations))
        now = time.monotonic()
        return [own for own in calls if len(own.futures) == 1 and now - own.since > patience][:1]

    def answer(self, future: Future) -> Any:
        """Return the result of a call that has ended."""
        from distributed import KilledWorker

        try:
            with _asking(self._spec):
                found = future.result()
        except KilledWorker as error:
            raise InputError(
                f"Workers died again and again with the same work ({error}); look at their logs, "
                "and whether they have enough memory."
            ) from None
        return remote.result(found)


def _connect(client: Callable[..., Client], address: Any, spec: str) -> Client:
    try:
        return client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--dask is {spec!r}, and no scheduler answers there ({error}); start one with "
            "`dask scheduler`, or give local:N."
        ) from None


@contextmanager
def _asking(spec: str) -> Iterator[None]:
    """Say that the scheduler is gone where a request to it fails.

    What a called function ends with is none of these, see `featstore.remote.call`.
    """
    from distributed.client import CancelledError, ClosedClientError

    try:
        yield
    except (OSError, CancelledError, ClosedClientError):
        raise _gone(spec) from None


def _gone(spec: str) -> InputError:
    return InputError(
        f"The scheduler at {spec} is gone; start it and its workers again, and run the same "
        "command: it goes on from the finished units."
    )
