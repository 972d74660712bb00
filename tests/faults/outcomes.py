"""What comes of a trial, and the table of many."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featstore.errors import FeatstoreError

PATIENCE = 120  # seconds after which a trial counts as endless
BAD = ("TRACEBACK", "NO END", "SILENTLY WRONG", "DIFFERENT BYTES", "PIXELS UNNOTICED", "DIED")


@dataclass(frozen=True, slots=True)
class Trial:
    """One fault and its outcome."""

    outcome: str
    detail: str = ""


# What does one trial: of a folder of its own, by a generator that decides everything.
Fault = Callable[[Path, np.random.Generator], Trial]


@dataclass
class Row:
    """The trials of one fault."""

    fault: str
    command: str
    counts: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)

    def note(self, number: int, trial: Trial) -> None:
        self.counts[trial.outcome] += 1
        if trial.outcome in BAD:
            self.bad.append(f"{self.fault} {number}: {trial.outcome}: {trial.detail}")


def run_trials(
    fault: str, do: Fault, numbers: Iterable[int], folder: Path, *, seed: int, command: str
) -> Row:
    """Do the trials of these numbers; each is decided by the seed and its own number.

    An interrupt ends them; those that were done count.
    """
    row = Row(fault, command)
    with suppress(KeyboardInterrupt):
        for number in numbers:
            rng = np.random.default_rng([seed, number, *fault.encode()])
            own = folder / f"{number}"
            own.mkdir(parents=True)
            row.note(number, do(own, rng))
            shutil.rmtree(own, ignore_errors=True)
    return row


def table(rows: Iterable[Row]) -> str:
    """Return the rows as Markdown."""
    lines = ["| fault | tries | outcome | command |", "| --- | --- | --- | --- |"]
    for row in rows:
        counts = ", ".join(f"{name} {count}" for name, count in row.counts.most_common())
        lines.append(f"| {row.fault} | {row.counts.total()} | {counts} | `{row.command}` |")
    return "\n".join(lines)


def outcome_of(call: Callable[[], Any], *, accepted: str = "accepted") -> Trial:
    """Call something that a user could call, and say how it ended."""
    try:
        with deadline():
            call()
    except TimeoutError:
        return Trial("NO END", f"after {PATIENCE} s")
    except (FeatstoreError, OSError) as error:
        text = str(error)
        try:
            text.encode()
        except UnicodeEncodeError:
            return Trial("TRACEBACK", "the sentence cannot be shown")
        return Trial("one sentence", text)
    except Exception:
        return Trial("TRACEBACK", "".join(traceback.format_exc().splitlines(keepends=True)[-4:]))
    return Trial(accepted)


@contextmanager
def deadline() -> Iterator[None]:
    """Raise where the block takes too long."""

    def late(*given: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def command(
    folder: Path,
    *arguments: object,
    before: Callable[[], None] | None = None,
    kill_after: float | None = None,
) -> tuple[int, str]:
    """Run a command of featstore in a child process, in a folder.

    A child is a fork of this process, which has loaded everything but started no thread.

    Parameters
    ----------
    folder : Path
    *arguments
    before : callable, optional
        Called in the child before the command.
    kill_after : float, optional
        Seconds until the child is killed.

    Returns
    -------
    status : int
        As `subprocess` has it: negative where a signal ended it.
    output : str
    """
    out = folder / "output.txt"
    out.write_bytes(b"")
    child = os.fork()
    if child == 0:
        _be_command(folder, out, [str(own) for own in arguments], before)
    seconds = PATIENCE if kill_after is None else kill_after

    def kill(*_: object) -> None:
        with suppress(ProcessLookupError):  # the child ended just before the alarm
            os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        _, status = os.waitpid(child, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return os.waitstatus_to_exitcode(status), out.read_text("utf-8", "replace")


def _be_command(
    folder: Path, out: Path, arguments: list[str], before: Callable[[], None] | None
) -> None:
    status = 99
    try:
        from pipeline.cli import main

        os.chdir(folder)
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout = sys.stderr = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        if before is not None:
            before()
        main(arguments)
        status = 0
    except SystemExit as error:
        status = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def judged(status: int, output: str) -> Trial:
    """Say how a command ended."""
    last = output.strip().splitlines()[-1:] or [""]
    if "Traceback (most recent call last)" in output:
        return Trial("TRACEBACK", output[-400:])
    if status < 0:
        return Trial("NO END" if status == -signal.SIGKILL else "DIED", f"signal {-status}")
    return Trial("accepted" if status == 0 else "one sentence", last[0])
