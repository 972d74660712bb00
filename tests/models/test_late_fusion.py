import pytest
import torch

from models.heads import HEADS, Head, build_head
from models.late_fusion import LateFusion

SMALL = {"hidden": 8, "heads": 2, "feedforward": 16}


def fused(kind: str) -> tuple[LateFusion, list[Head]]:
    torch.manual_seed(0)
    import inspect

    options = {k: v for k, v in SMALL.items() if k in inspect.signature(HEADS[kind]).parameters}
    heads = [build_head(kind, features, 5, **options) for features in (6, 4)]
    return LateFusion(heads, [6, 4]).eval(), heads


@pytest.mark.parametrize("kind", HEADS)
def test_logits_and_attention_are_the_means_of_the_heads(kind: str) -> None:
    late, heads = fused(kind)
    features = torch.randn(3, 7, 10)
    mask = torch.arange(7) < torch.tensor([1, 4, 7])[:, None]
    got = late(features.masked_fill(~mask[..., None], torch.nan), mask)
    one, two = (
        head.eval()(own, mask)
        for head, own in zip(heads, (features[..., :6], features[..., 6:]), strict=True)
    )
    torch.testing.assert_close(got.logits, (one.logits + two.logits) / 2)
    if one.attention is None:
        assert got.attention is None
    else:
        torch.testing.assert_close(got.attention, (one.attention + two.attention) / 2)


def test_each_head_sees_its_own_features_only() -> None:
    late, _ = fused("linear")
    features = torch.randn(2, 3, 10, requires_grad=True)
    late.heads[0].requires_grad_(requires_grad=False)
    late.heads[1].requires_grad_(requires_grad=False)
    late.heads[0].classify.weight.data.zero_()
    late(features, torch.ones(2, 3, dtype=torch.bool)).logits.sum().backward()
    assert features.grad is not None
    assert not features.grad[..., :6].any()
    assert features.grad[..., 6:].any()


def test_it_is_no_kind_of_head_itself() -> None:
    assert LateFusion not in HEADS.values()
