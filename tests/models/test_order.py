"""Order matters: two classes that are each other's reverse in time."""

from typing import Any

import pytest
import torch

from models.heads import Head, build_head
from models.heads.positions import sinusoids
from models.losses import cross_entropy


def clips(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (n,), generator=generator)
    ramp = torch.linspace(-1, 1, 8)[None, :, None] * torch.tensor([1.0, -1.0, 0.5, 0.0])
    noise = 0.3 * torch.randn(n, 8, 4, generator=generator)
    features = torch.where(labels[:, None, None] == 1, ramp.flip(1), ramp) + noise
    return features, torch.ones(n, 8, dtype=torch.bool), labels


def accuracy_of(head: Head) -> float:
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    features, mask, labels = clips(200, seed=1)
    for _ in range(40):
        optimizer.zero_grad()
        cross_entropy(head(features, mask).logits, labels).backward()
        optimizer.step()
    features, mask, labels = clips(200, seed=2)
    return (head.eval()(features, mask).logits.argmax(1) == labels).float().mean().item()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("recurrent", {"bidirectional": True, "hidden": 8, "pool": "last"}),
        ("recurrent", {"bidirectional": True, "hidden": 8, "pool": "attention"}),
        ("tcn", {"hidden": 8}),
        ("tcn", {"hidden": 8, "causal": True, "pool": "last"}),
        ("transformer", {"hidden": 16, "layers": 1, "dropout": 0.0}),
        ("attentive", {"hidden": 16}),
    ],
    ids=str,
)
def test_heads_that_know_time_learn_order(kind: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    assert accuracy_of(build_head(kind, 4, 2, **options)) > 0.95


@pytest.mark.parametrize(
    ("kind", "options"),
    [("linear", {}), ("mlp", {"hidden": 16}), ("attentive", {"hidden": 16, "positions": False})],
    ids=str,
)
def test_heads_without_time_cannot(kind: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    assert accuracy_of(build_head(kind, 4, 2, **options)) < 0.65


@pytest.mark.parametrize("size", [1, 5, 8])
def test_positions_are_the_papers_and_do_not_depend_on_how_many_there_are(size: int) -> None:
    like = torch.zeros(1, dtype=torch.float64)
    got = sinusoids(9, size, like=like)
    for place in range(9):
        for i in range(size):
            angle = torch.tensor(place / 10000 ** (2 * (i // 2) / size), dtype=torch.float64)
            expected = angle.cos() if i % 2 else angle.sin()
            torch.testing.assert_close(got[place, i], expected)
    assert torch.equal(sinusoids(4, size, like=like), got[:4])
