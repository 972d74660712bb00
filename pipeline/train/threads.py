"""Choose the number of threads of a training step by measuring, without changing its bits.

The threads that share a step wait for each other many times in it. On free processors two of them
may take two thirds of the time of one; while other programs compute, they take many times as long.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor, nn

COMPARED = 3  # comparisons that a choice rests on
FASTER = 0.9  # share of the time of one thread that more threads may take
SHARE = 0.02  # of the time of all steps, for comparing and for slow steps


class ThreadChoice:
    """The number of threads of the next step, chosen by comparing with one thread.

    The first three steps have one thread. Then some steps are computed twice, by one thread and by
    more. More threads are used while the median of their latest three comparisons is a tenth
    faster, and no longer than a few steps once they are slower than one thread. After the first
    three comparisons, all that this costs stays below `SHARE` of the time.

    Parameters
    ----------
    most : int
        The most threads.

    Attributes
    ----------
    count : int
        The number of threads of the next step.

    Examples
    --------
    >>> choice = ThreadChoice(2)
    >>> for _ in range(3):
    ...     choice.took(1.0)
    >>> while (count := choice.to_compare()) is not None:
    ...     choice.compared(count, alone=1.0, together=0.6, same=True)
    >>> choice.count
    2
    >>> choice.took(5.0)  # another program has started
    >>> choice.count
    1
    """

    def __init__(self, most: int) -> None:
        self.count = 1
        self._others = _doubled(most)
        self._shares: dict[int, deque[float]] = {
            count: deque(maxlen=COMPARED) for count in self._others
        }
        self._alone: deque[float] = deque(maxlen=COMPARED)
        self._seconds = self._lost = self._behind = 0.0

    def to_compare(self) -> int | None:
        """Return the number of threads to compare with one in the next step, if any."""
        if not self._others or len(self._alone) < COMPARED:
            return None
        step = median(self._alone)
        affordable = self._lost + step <= COMPARED * step + SHARE * self._seconds
        return self._others[0] if affordable else None

    def took(self, seconds: float) -> None:
        """Note the seconds of a step with `count` threads."""
        self._seconds += seconds
        if self.count == 1:
            self._alone.append(seconds)
            return
        slower = seconds - median(self._alone)
        self._lost += max(0.0, slower)
        self._behind = max(0.0, self._behind + slower)
        if self._behind > COMPARED * median(self._alone):
            self._shares[self.count].clear()
            self._choose()

    def compared(self, count: int, *, alone: float, together: float, same: bool) -> None:
        """Note a step that was computed twice.

        Parameters
        ----------
        count : int
            The result of `to_compare`.
        alone, together : float
            Seconds with one thread and with `count` threads.
        same : bool
            Whether both have the same bits; otherwise `count` is not used again.
        """
        self._seconds += alone + together
        self._lost += max(alone, together)
        self._alone.append(alone)
        self._others.remove(count)
        if same:
            self._others.append(count)
            self._shares[count].append(together / alone)
        else:
            del self._shares[count]
        self._choose()

    def _choose(self) -> None:
        shares = {
            count: median(shares)
            for count, shares in self._shares.items()
            if len(shares) == COMPARED
        }
        best = min(shares, key=lambda count: shares[count], default=1)
        self.count = best if shares.get(best, 1.0) < FASTER else 1
        self._behind = 0.0


def _doubled(most: int) -> list[int]:
    """Return 2, 4, 8, ... and the largest number.

    Examples
    --------
    >>> _doubled(1), _doubled(2), _doubled(6)
    ([], [2], [2, 4, 6])
    """
    counts = [1]
    while counts[-1] < most:
        counts.append(min(2 * counts[-1], most))
    return counts[1:]


class StepThreads:
    """Computes steps on a CPU with the number of threads that is fastest.

    The results always have the bits of one thread. Whether others give the same bits depends on
    the shape of a batch, so only batches of one shape are computed by several.

    Parameters
    ----------
    head : nn.Module
        Its gradients are compared.
    most : int
        The most threads.
    clock : callable
        Returns seconds.
    """

    def __init__(
        self, head: nn.Module, most: int, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.choice, self._clock = ThreadChoice(most), clock
        self._weights = list(head.parameters())

    def run(self, compute: Callable[[], Sequence[Tensor]]) -> Sequence[Tensor]:
        """Compute a step of the one shape.

        Parameters
        ----------
        compute : callable
            Clears the gradients, computes them, and returns further results.
        """
        count = self.choice.to_compare()
        if count is not None:
            return self._run_twice(compute, count)
        seconds, results = self._timed(compute, self.choice.count)
        self.choice.took(seconds)
        return results

    def _run_twice(self, compute: Callable[[], Sequence[Tensor]], count: int) -> Sequence[Tensor]:
        """Compute a step with one thread and with `count`, and keep what one thread computed."""
        before = torch.get_rng_state()  # of dropout
        alone, results = self._timed(compute, 1)
        after, gradients = torch.get_rng_state(), self._gradients()
        torch.set_rng_state(before)
        together, others = self._timed(compute, count)
        same = _same([*results, *gradients], [*others, *self._gradients()])
        torch.set_rng_state(after)
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient
        self.choice.compared(count, alone=alone, together=together, same=same)
        return results

    def _gradients(self) -> list[Tensor | None]:
        return [weight.grad for weight in self._weights]

    def _timed(
        self, compute: Callable[[], Sequence[Tensor]], count: int
    ) -> tuple[float, Sequence[Tensor]]:
        if count > 1:
            torch.set_num_threads(count)
        started = self._clock()
        try:
            results = compute()
        finally:
            seconds = self._clock() - started
            if count > 1:
                torch.set_num_threads(1)
        return seconds, results


def _same(ones: Sequence[Tensor | None], others: Sequence[Tensor | None]) -> bool:
    return all(
        one is other or (one is not None and other is not None and torch.equal(one, other))
        for one, other in zip(ones, others, strict=True)
    )
