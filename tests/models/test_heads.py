import inspect
from collections.abc import Iterator
from itertools import product
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch

from models.heads import HEADS, Head, HeadOutput, RecurrentHead, build_head
from models.heads.pooling import build_pool, valid_lengths
from models.heads.tcn import TcnHead

LENGTHS = (1, 4, 7)
SMALL = {"hidden": 8, "heads": 2, "feedforward": 16, "dropout": 0.0}


def variants() -> Iterator[Any]:
    """Every head with every combination of its choices and switches, and with two layers."""
    for kind, head in HEADS.items():
        if not head.learns:
            continue
        hints = get_type_hints(head.__init__)
        choices: dict[str, list[Any]] = {}
        for option in inspect.signature(head).parameters.values():
            if option.kind is not option.KEYWORD_ONLY:
                continue
            if get_origin(hints[option.name]) is Literal:
                choices[option.name] = list(get_args(hints[option.name]))
            elif hints[option.name] is bool:
                choices[option.name] = [False, True]
            elif option.name == "layers":
                choices[option.name] = [1, 2]
            elif option.name in SMALL:
                choices[option.name] = [SMALL[option.name]]
        for chosen in product(*choices.values()):
            options = dict(zip(choices, chosen, strict=True))
            yield pytest.param(kind, options, id=f"{kind}-{'-'.join(map(str, chosen))}")


EVERY = list(variants())
LEARNING = [kind for kind, head in HEADS.items() if head.learns]


def head_of(kind: str = "recurrent", **options: Any) -> Head:
    torch.manual_seed(0)
    if kind == "recurrent":
        options = {"hidden": 8, "input_norm": True} | options
    return build_head(kind, 6, 5, **options).eval()


def ragged(
    filler: float = 0.0, *, dtype: torch.dtype = torch.float32, more: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips of different lengths, and `more` padded steps behind the longest."""
    mask = torch.arange(max(LENGTHS) + more) < torch.tensor(LENGTHS)[:, None]
    features = torch.randn(3, 7 + more, 6, generator=torch.Generator().manual_seed(1))
    features[:, :7] = torch.randn(3, 7, 6, generator=torch.Generator().manual_seed(2))
    return features.to(dtype).masked_fill(~mask[..., None], filler), mask


@pytest.mark.parametrize(("kind", "options"), EVERY)
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("learning", [False, True])
def test_logits_are_the_same_alone_in_any_batch_and_with_any_padding(
    kind: str, options: dict[str, Any], dtype: torch.dtype, atol: float, learning: bool
) -> None:
    head = head_of(kind, **options).to(dtype).train(learning)
    features, mask = ragged(dtype=dtype)
    longer, longer_mask = ragged(float("nan"), dtype=dtype, more=5)
    order = torch.tensor([2, 0, 1])
    with torch.set_grad_enabled(learning):
        together, padded = head(features, mask), head(longer, longer_mask)
        turned = head(features[order], mask[order])
        for i, n in enumerate(LENGTHS):
            alone = head(features[i : i + 1, :n], mask[i : i + 1, :n])
            place = int(order.tolist().index(i))
            for output, row in ((together, i), (padded, i), (turned, place)):
                got = output.logits[row : row + 1]
                torch.testing.assert_close(got, alone.logits, atol=atol, rtol=0)
                if alone.attention is not None:
                    got = output.attention[row : row + 1, :n]
                    torch.testing.assert_close(got, alone.attention, atol=atol, rtol=0)


@pytest.mark.parametrize(("kind", "options"), EVERY)
@pytest.mark.parametrize("filler", [float("nan"), float("inf"), 1e30])
def test_padding_enters_neither_logits_nor_gradients(
    kind: str, options: dict[str, Any], filler: float
) -> None:
    head = head_of(kind, **options)
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


@pytest.mark.parametrize(("kind", "options"), EVERY)
def test_every_weight_gets_a_gradient_and_attention_sums_to_one(
    kind: str, options: dict[str, Any]
) -> None:
    head = head_of(kind, **options)
    features, mask = ragged()
    output = head(features, mask)
    assert isinstance(output, HeadOutput)
    assert output.logits.shape == (3, 5)
    (output.logits * torch.arange(5)).square().sum().backward()
    assert all(p.grad is not None for p in head.parameters())
    if output.attention is not None:
        torch.testing.assert_close(output.attention.sum(1), torch.ones(3))
        assert not output.attention[~mask].any()


@pytest.mark.parametrize("kind", LEARNING)
def test_input_norm_standardises_every_step_by_itself_and_learns_nothing(kind: str) -> None:
    normed, plain = (head_of(kind, input_norm=norm) for norm in (True, False))
    assert normed.state_dict().keys() == plain.state_dict().keys()
    features, mask = ragged()
    mean, std = features.mean(2, keepdim=True), features.std(2, correction=0, keepdim=True)
    expected = plain((features - mean) / std, mask)
    torch.testing.assert_close(normed(features, mask).logits, expected.logits, atol=1e-4, rtol=0)


def test_last_is_the_last_valid_step_forward_and_the_first_backward() -> None:
    head = head_of(pool="last", bidirectional=True, cell="lstm")
    features, mask = ragged()
    for i, n in enumerate(LENGTHS):
        _, (final, _) = head.rnn(head.norm(features[i : i + 1, :n]))
        expected = head.classify(torch.cat([final[0], final[1]], dim=1))
        torch.testing.assert_close(head(features, mask).logits[i : i + 1], expected)


def test_last_of_one_direction_is_the_state_of_torch_behind_all_valid_steps() -> None:
    head = head_of(pool="last", bidirectional=False, cell="lstm", input_norm=False)
    alone = torch.nn.LSTM(6, 8, batch_first=True)
    alone.load_state_dict(head.rnn.state_dict())
    features, mask = ragged(float("nan"))
    for i, n in enumerate(LENGTHS):
        _, (state, _) = alone(features[i : i + 1, :n])
        expected = head.classify(state[0])
        torch.testing.assert_close(head(features, mask).logits[i : i + 1], expected)


def test_last_of_a_causal_tcn_is_the_value_behind_all_valid_steps() -> None:
    head = head_of("tcn", hidden=8, causal=True, pool="last")
    features, mask = ragged()
    for i, n in enumerate(LENGTHS):
        logits = head(features[i : i + 1, :n], mask[i : i + 1, :n]).logits
        torch.testing.assert_close(head(features, mask).logits[i : i + 1], logits)


def test_convolutions_are_those_of_torch_on_each_clip() -> None:
    head = head_of("tcn", hidden=8, layers=2, kernel=3)
    assert isinstance(head, TcnHead)
    features, mask = ragged()
    for i, n in enumerate(LENGTHS):
        steps = features[i, :n].T[None]
        for number, block in enumerate(head.blocks):
            found = steps
            for layer in (block.first, block.second):
                found = torch.nn.functional.conv1d(
                    found, layer.weight, layer.bias, padding=2**number, dilation=2**number
                ).relu()
            straight = steps.transpose(1, 2)
            straight = straight if number else block.skip(straight)
            steps = (found + straight.transpose(1, 2)).relu()
        expected = head.classify(steps.mean(dim=2))
        torch.testing.assert_close(head(features, mask).logits[i : i + 1], expected)


def test_a_causal_step_does_not_see_later_ones() -> None:
    features, mask = ragged()
    features, mask = features[2:], mask[2:]
    changed = features.clone()
    changed[:, 5:] += 1
    for causal in (True, False):
        block = head_of("tcn", hidden=8, causal=causal).blocks[0]
        before, after = block(features, mask), block(changed, mask)
        assert torch.equal(before[:, :5], after[:, :5]) == causal


def test_the_attentive_probe_is_the_formula() -> None:
    head = head_of("attentive", hidden=8, heads=1, positions=False)
    features, mask = ragged()
    clip = head.keys_norm(head.project(features[1, :4]))
    q, k, v = head.attend.in_proj_weight.chunk(3)
    qb, kb, vb = head.attend.in_proj_bias.chunk(3)
    scores = (clip @ k.T + kb) @ (q @ head.query[0, 0] + qb) / 8**0.5
    weights = scores.softmax(0)
    state = head.query[0, 0] + head.attend.out_proj(weights @ (clip @ v.T + vb))
    state = state + head.mlp(head.mlp_norm(state))
    output = head(features, mask)
    torch.testing.assert_close(output.attention[1, :4], weights)
    torch.testing.assert_close(output.logits[1], head.classify(state))


def test_pools_with_a_linear_layer_are_the_formula() -> None:
    features, mask = ragged()
    for pool, pooled in (("mean", features[1, :4].mean(0)), ("max", features[1, :4].amax(0))):
        head = head_of("linear", pool=pool)
        torch.testing.assert_close(head(features, mask).logits[1], head.classify(pooled))
        head = head_of("mlp", pool=pool, hidden=8)
        ((linear, *_),) = head.hidden
        expected = head.classify(linear(pooled).relu())
        torch.testing.assert_close(head(features, mask).logits[1], expected)


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
    for kind in HEADS:
        with pytest.raises(ValueError, match="valid steps come first"):
            head_of(kind)(torch.zeros(1, len(mask[0]), 6), torch.tensor(mask))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'rnn'.*lstm, gru"):
        head_of(cell="rnn")
    with pytest.raises(ValueError, match=r"'median'.*last"):
        head_of(pool="median")
    with pytest.raises(ValueError, match=r"'conv'.*attentive"):
        build_head("conv", 6, 5)
    assert isinstance(build_head("recurrent", 6, 5, hidden=4), RecurrentHead)
    for kind in ("transformer", "attentive"):
        with pytest.raises(ValueError, match=r"heads is 3;.*8"):
            build_head(kind, 6, 5, heads=3, hidden=8)


def test_every_head_cites_its_paper_and_has_a_default_for_every_option() -> None:
    for kind, head in HEADS.items():
        assert any(year in (head.__doc__ or "") for year in map(str, range(1980, 2030))), kind
        for option in inspect.signature(head).parameters.values():
            if option.kind is option.KEYWORD_ONLY:
                assert option.default is not option.empty, (kind, option.name)


@pytest.mark.parametrize("neighbours", [None, 1, 5])
def test_a_head_that_remembers_is_that_of_its_state(neighbours: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    head = build_head("nearest", 6, 5, neighbours=neighbours)
    head.remember(torch.randn(9, 6, generator=generator), torch.arange(9) % 4)
    other = build_head("nearest", 6, 5, neighbours=neighbours)
    other.load_state_dict(head.state_dict())
    features, mask = ragged(float("nan"))
    logits = head(features, mask).logits
    assert torch.equal(other(features, mask).logits, logits)
    assert torch.isfinite(logits).all()
    assert not (logits.argmax(1) == 4).any()  # a class without clips is never said
    for i, n in enumerate(LENGTHS):
        alone = head(features[i : i + 1, :n], mask[i : i + 1, :n]).logits
        torch.testing.assert_close(alone, logits[i : i + 1], atol=1e-5, rtol=0)
