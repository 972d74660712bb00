"""Connect to Dask workers, and call a function on many of them.

The function can be anything. Workers import it from their installation, see `featstore.remote`;
only its argument and its result are sent.
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
# Calls queued for each worker thread, so that no thread is ever idle.
WAITING = 2
# A call is started again if workers are idle and it takes this many times the median.
STRAGGLES = 3.0
SECONDS_TO_STRAGGLE = 30.0


@dataclass(slots=True)
class _Call:
    """A running call, perhaps on several workers."""

    number: int
    payload: bytes
    since: float
    futures: list[Future]


class Cluster:
    """Dask workers; connects on the first call.

    Parameters
    ----------
    spec : str
        ``local:N`` starts N processes here, one per GPU if there are GPUs; anything else is the
        address of a scheduler, such as ``tcp://host:8786``, or a scheduler file.
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
            with suppress(Exception):  # the connection may have failed
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
            # Dask sets environment variables for its processes here, and does not restore them.
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
            If the function raises one, or the scheduler is lost.
        """
        return next(self.map(target, [argument]))[1]

    def everywhere(self, target: str, argument: Any) -> list[Any]:
        """Call a function on every connected worker; skip workers that do not answer.

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
        for future in futures:
            with suppress(Exception):  # a lost or hanging worker, which `map` tolerates
                answers.append(future.result(timeout=max(0.1, end - time.monotonic())))
        with _asking(self._spec):
            self._client.cancel([future for future in futures if future.status == "pending"])
        return [remote.result(answer) for answer in answers]

    def map(self, target: str, arguments: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """Call a function on workers, with a limited number of concurrent calls.

        Parameters
        ----------
        target : str
            See `featstore.remote.call`.
        arguments : iterable
            Consumed one by one, as workers have room.

        Yields
        ------
        number : int
            Position among the arguments; results come in the order of completion.
        result : object

        Raises
        ------
        FeatstoreError
            If a call raises one, a call kills workers repeatedly, or the scheduler is lost.
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
                completed = next(
                    (candidate for candidate in calls.values() if future in candidate.futures), None
                )
                if completed is None:  # the duplicate of a finished call
                    continue
                answer = watch.answer(future)
                del calls[completed.number]
                durations.append(time.monotonic() - completed.since)
                for other in completed.futures:
                    other.release()
                yield completed.number, answer
        finally:
            left = [future for call in calls.values() for future in call.futures]
            if left:
                with suppress(Exception):  # the scheduler may be lost
                    self._client.cancel(left, asynchronous=False)


class _Watch:
    """Watch the workers while calls run."""

    def __init__(self, client: Client, spec: str, log: Log) -> None:
        self._client, self._spec, self._log = client, spec, log
        self._threads, self._asked = 0, -float("inf")
        self._said = time.monotonic()

    def room(self) -> int:
        """Return the limit of concurrent calls."""
        now = time.monotonic()
        if now - self._asked > SECONDS_BETWEEN_LOOKS:
            with _asking(self._spec):
                self._threads, self._asked = sum(self._client.nthreads().values()), now
        return max(1, WAITING * self._threads)

    def look(self) -> None:
        """Log if there is no worker, and raise if the scheduler is lost."""
        if self._client.status != "running":
            raise _gone(self._spec)
        now = time.monotonic()
        if self._threads == 0 and now - self._said > SECONDS_BETWEEN_LINES:
            self._log(f"no worker is connected to {self._spec}; waiting for one")
            self._said = now

    def stragglers(self, calls: Iterable[_Call], durations: list[float]) -> list[_Call]:
        """Return a slow call to start again, if all other work is done."""
        calls = list(calls)
        if not durations or self._threads <= len(calls):
            return []
        patience = max(SECONDS_TO_STRAGGLE, STRAGGLES * statistics.median(durations))
        now = time.monotonic()
        return [call for call in calls if len(call.futures) == 1 and now - call.since > patience][
            :1
        ]

    def answer(self, future: Future) -> Any:
        """Return the result of a finished call."""
        from distributed import KilledWorker

        try:
            with _asking(self._spec):
                reply = future.result()
        except KilledWorker as error:
            raise InputError(
                f"The same work killed several workers ({error}); check their logs and their "
                "memory."
            ) from None
        return remote.result(reply)


def _connect(client: Callable[..., Client], address: Any, spec: str) -> Client:
    try:
        return client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--dask is {spec!r}, but no scheduler answers there ({error}); start one with "
            "`dask scheduler`, or pass local:N."
        ) from None


@contextmanager
def _asking(spec: str) -> Iterator[None]:
    """Raise that the scheduler is lost if a request to it fails.

    Errors of a called function are returned differently, see `featstore.remote.call`.
    """
    from distributed.client import CancelledError, ClosedClientError

    try:
        yield
    except (OSError, CancelledError, ClosedClientError):
        raise _gone(spec) from None


def _gone(spec: str) -> InputError:
    return InputError(
        f"The scheduler at {spec} is gone; start it and its workers again, then run the same "
        "command to resume from the finished units."
    )
