"""The number of threads of a step: what is chosen, what choosing costs, and that no bit changes."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.system.threads import one_thread
from pipeline.train import learner
from pipeline.train.threads import StepThreads, ThreadChoice
from pipeline.train.train import train
from tests.fakes import ordered_store
from tests.training import quiet, recipe_of

Cost = Callable[[int, int], float]  # seconds of a step, by its number and threads


def seconds_of(choice: ThreadChoice, steps: range, cost: Cost, *, same: bool = True) -> float:
    """Simulate a training; return the seconds of its steps."""
    total = 0.0
    for step in steps:
        count = choice.to_compare()
        if count is None:
            total += cost(step, choice.count)
            choice.took(cost(step, choice.count))
        else:
            alone, together = cost(step, 1), cost(step, count)
            total += alone + together
            choice.compared(count, alone=alone, together=together, same=same)
    return total


@pytest.mark.parametrize("share", [0.95, 1.0, 1.5, 3.0, 30.0])
def test_threads_that_do_not_help_cost_little(share: float) -> None:
    choice = ThreadChoice(2)
    total = seconds_of(choice, range(2000), lambda step, count: 1 if count == 1 else share)
    assert choice.count == 1
    assert 2000 < total < 1.05 * 2000


def test_threads_that_help_are_used_from_the_first_steps() -> None:
    choice = ThreadChoice(2)
    assert seconds_of(choice, range(10), lambda step, count: 1 / count) == 3 + 3 * 1.5 + 4 / 2
    assert choice.count == 2


def test_the_fastest_number_is_chosen() -> None:
    costs = {1: 1.0, 2: 0.6, 4: 0.4, 8: 0.7}
    choice = ThreadChoice(8)
    seconds_of(choice, range(1000), lambda step, count: costs[count])
    assert choice.count == 4


def test_other_work_that_comes_and_goes_is_noticed() -> None:
    def cost(step: int, count: int) -> float:
        return 1 if count == 1 else (10 if 1000 <= step < 3000 else 0.6)

    choice = ThreadChoice(2)
    seconds_of(choice, range(1000), cost)
    assert choice.count == 2
    beside = seconds_of(choice, range(1000, 3000), cost)
    assert choice.count == 1
    assert beside < 1.05 * 2000
    seconds_of(choice, range(3000, 6000), cost)
    assert choice.count == 2


def test_one_slow_step_is_forgiven() -> None:
    choice = ThreadChoice(2)
    seconds_of(choice, range(100), lambda step, count: 1 / count)
    choice.took(3.0)
    assert choice.count == 2


def test_a_number_that_gives_other_bits_is_tried_once() -> None:
    choice = ThreadChoice(4)
    tried = []
    for _ in range(100):
        if (count := choice.to_compare()) is None:
            choice.took(1.0)
        else:
            tried.append(count)
            choice.compared(count, alone=1.0, together=0.1, same=False)
    assert tried == [2, 4]
    assert choice.count == 1


def test_one_thread_is_never_compared() -> None:
    choice = ThreadChoice(1)
    assert seconds_of(choice, range(100), lambda step, count: 1.0) == 100


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Clock:
    """Says that n threads take an n-th of the time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1 / torch.get_num_threads()
        return self.now


def test_torch_has_one_thread_in_the_block_and_its_own_after_it(two_threads: None) -> None:
    with one_thread() as most:
        assert (most, torch.get_num_threads()) == (2, 1)
    assert torch.get_num_threads() == 2


def trained_layer(most: int) -> tuple[Tensor, ThreadChoice]:
    """Take twenty steps with dropout; other threads than one leave a trace in the weights."""
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2))
    threads = StepThreads(layer, most, clock=Clock())

    def compute() -> list[Tensor]:
        layer.zero_grad()
        loss = layer(torch.ones(8, 4)).square().sum() * torch.get_num_threads()
        torch.autograd.backward(loss)
        return [loss.detach()]

    for _ in range(20):
        threads.run(compute)
        with torch.no_grad():
            for weight in layer.parameters():
                assert weight.grad is not None
                weight -= 0.01 * weight.grad
    assert layer[1].weight.isfinite().all()
    return torch.cat([weight.detach().ravel() for weight in layer.parameters()]), threads.choice


def test_other_bits_than_those_of_one_thread_are_never_kept(two_threads: None) -> None:
    with one_thread():
        (expected, _), (weights, choice) = trained_layer(1), trained_layer(2)
    assert choice.count == 1
    assert torch.equal(weights, expected)


@pytest.mark.parametrize("name", ["tcn", "mlp"])  # two threads of an LSTM wait too often
def test_weights_are_those_of_one_thread(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_threads: None
) -> None:
    made: list[StepThreads] = []

    def noted(head: nn.Module, most: int) -> StepThreads:
        made.append(StepThreads(head, most, clock=Clock()))
        return made[-1]

    monkeypatch.setattr(learner, "StepThreads", noted)
    recipe = recipe_of("train.batch_size=4", "train.epochs=1", "data.steps=4", name=name)
    run = partial(train, ordered_store(60), recipe, device="cpu", log=quiet)
    two = run(out=tmp_path / "two")
    torch.set_num_threads(1)
    one = run(out=tmp_path / "one")
    compared, alone = (threads.choice for threads in made)
    assert compared.count == 2 or compared.to_compare() is None, "two threads were not tried"
    assert alone.count == 1
    for file in ("weights.safetensors", "predictions.csv", "config.yaml"):
        assert (two / file).read_bytes() == (one / file).read_bytes()
