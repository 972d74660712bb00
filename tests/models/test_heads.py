from itertools import product
from typing import Any

import pytest
import torch

from models.heads import RecurrentHead, build_head
from models.pooling import build_pool, valid_lengths

LENGTHS = (1, 4, 7)
EVERY = list(product(["last", "mean", "max", "attention"], ["lstm", "gru"], [False, True]))


def head_of(**options: Any) -> RecurrentHead:
    torch.manual_seed(0)
    return RecurrentHead(6, 5, **{"hidden": 8, "input_norm": True} | options).eval()


def ragged(filler: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    features = torch.randn(3, 7, 6, generator=torch.Generator().manual_seed(1))
    return features.masked_fill(~mask[..., None], filler), mask


@pytest.mark.parametrize(("pool", "cell", "bidirectional"), EVERY)
@pytest.mark.parametrize("layers", [1, 2])
def test_logits_are_the_same_alone_and_in_any_batch(
    pool: str, cell: str, bidirectional: bool, layers: int
) -> None:
    head = head_of(pool=pool, cell=cell, bidirectional=bidirectional, layers=layers)
    features, mask = ragged()
    together = head(features, mask)
    for i, n in enumerate(LENGTHS):
        alone = head(features[i : i + 1, :n], mask[i : i + 1, :n])
        torch.testing.assert_close(together.logits[i : i + 1], alone.logits)
        if pool == "attention":
            torch.testing.assert_close(together.attention[i : i + 1, :n], alone.attention)


@pytest.mark.parametrize(("pool", "cell", "bidirectional"), EVERY)
@pytest.mark.parametrize("filler", [float("nan"), float("inf"), 1e30])
def test_padding_enters_neither_logits_nor_gradients(
    pool: str, cell: str, bidirectional: bool, filler: float
) -> None:
    head = head_of(pool=pool, cell=cell, bidirectional=bidirectional)
    results = []
    for value in (0.0, filler):
        features, mask = ragged(value)
        head.zero_grad()
        output = head(features.requires_grad_(), mask)
        output.logits.square().sum().backward()
        assert features.grad is not None
        assert not features.grad[~mask].any()
        results.append([output.logits, *(p.grad.clone() for p in head.parameters())])
    for clean, dirty in zip(*results, strict=True):
        assert torch.equal(clean, dirty)


def test_last_is_the_last_valid_step_forward_and_the_first_backward() -> None:
    head = head_of(pool="last", bidirectional=True, cell="lstm")
    features, mask = ragged()
    for i, n in enumerate(LENGTHS):
        _, (final, _) = head.rnn(head.norm(features[i : i + 1, :n]))
        expected = head.classify(torch.cat([final[0], final[1]], dim=1))
        torch.testing.assert_close(head(features, mask).logits[i : i + 1], expected)


def test_attention_sums_to_one_over_valid_steps() -> None:
    features, mask = ragged()
    attention = head_of(pool="attention")(features, mask).attention
    torch.testing.assert_close(attention.sum(1), torch.ones(3))
    assert not attention[~mask].any()


def test_heads_without_attention_say_none() -> None:
    assert head_of(pool="mean")(*ragged()).attention is None


def test_max_pool_of_negative_steps_is_not_the_padding() -> None:
    steps = torch.tensor([[[-3.0], [-2.0], [0.0]]])
    pooled, _ = build_pool("max", 1)(steps, torch.tensor([[True, True, False]]))
    assert pooled.item() == -2.0


@pytest.mark.parametrize("mask", [[[False, True]], [[False, False]], [[True, False, True]]])
def test_masks_that_are_no_prefix_are_refused(mask: list[list[bool]]) -> None:
    with pytest.raises(ValueError, match="valid steps come first"):
        valid_lengths(torch.tensor(mask))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="'rnn': known are lstm, gru"):
        head_of(cell="rnn")
    with pytest.raises(ValueError, match="'median': known are last, mean, max, attention"):
        head_of(pool="median")
    with pytest.raises(ValueError, match="'conv': known are recurrent"):
        build_head("conv", 6, 5)
    assert isinstance(build_head("recurrent", 6, 5, hidden=4), RecurrentHead)
