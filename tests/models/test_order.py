"""Order matters: two classes that are each other's reverse in time."""

import pytest
import torch
from torch import nn

from models.heads import Head, HeadOutput, RecurrentHead
from models.losses import cross_entropy
from models.pooling import MeanPool


class OrderFree(Head):
    """A linear layer and a mean: whatever it learns, it learns without order."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Sequential(nn.Linear(4, 32), nn.ReLU())
        self.pool, self.classify = MeanPool(), nn.Linear(32, 2)

    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> HeadOutput:
        pooled, _ = self.pool(self.step(features), mask)
        return HeadOutput(self.classify(pooled), None)


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


@pytest.mark.parametrize("pool", ["last", "attention"])
def test_recurrent_heads_learn_order(pool: str) -> None:
    torch.manual_seed(0)
    assert accuracy_of(RecurrentHead(4, 2, bidirectional=True, hidden=8, pool=pool)) > 0.95


def test_a_mean_without_order_cannot() -> None:
    torch.manual_seed(0)
    assert accuracy_of(OrderFree()) < 0.65
