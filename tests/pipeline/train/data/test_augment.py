from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.losses import soft_targets
from pipeline.train.data.augment import add_noise, change_time, choose_steps, mixup, take_steps
from pipeline.train.recipes.fields import Augment

MASK = torch.tensor([[True, True, True], [True, False, False]])


def features() -> torch.Tensor:
    values = torch.arange(12.0).reshape(2, 3, 2)
    return values.masked_fill(~MASK[..., None], float("nan"))


def test_noise_touches_valid_steps_only_and_scales_with_them() -> None:
    def noisy(values: torch.Tensor) -> torch.Tensor:
        return add_noise(values, MASK, 0.5, generator=torch.Generator().manual_seed(0))

    once, twice = noisy(features()), noisy(2 * features())
    assert torch.isnan(once[~MASK]).all()
    assert (once[MASK] != features()[MASK]).all()
    torch.testing.assert_close(twice[MASK], 2 * once[MASK])


def test_mixup_uses_the_intersection_of_masks_and_mixes_targets() -> None:
    rng = np.random.default_rng(0)
    while True:
        state = rng.bit_generator.state
        share, order = np.float32(rng.beta(0.5, 0.5)), rng.permutation(2)
        if order[0] == 1:
            break
    rng.bit_generator.state = state
    targets = soft_targets(torch.tensor([0, 2]), 3)
    mixed, mask, masses = mixup(features(), MASK, targets, 0.5, rng=rng)
    assert mask.tolist() == [[True, False, False]] * 2
    assert not mixed[~mask].any()  # NaN does not leak out of the padding either
    expected = share * torch.tensor([0.0, 1.0]) + (1 - share) * torch.tensor([6.0, 7.0])
    torch.testing.assert_close(mixed[0, 0], expected)
    torch.testing.assert_close(masses[0], torch.tensor([share, 0.0, 1 - share]))
    torch.testing.assert_close(masses.sum(1), torch.ones(2))


LENGTHS = np.array([1, 2, 7, 12])


def chosen(seed: int = 0, **options: Any) -> list[list[int]]:
    """The kept steps of every clip."""
    index, counts = choose_steps(LENGTHS, 12, **options, rng=np.random.default_rng(seed))
    assert index.shape == (4, 12)
    return [row[:count].tolist() for row, count in zip(index, counts, strict=True)]


def test_without_options_every_step_stays_in_its_place() -> None:
    assert chosen() == [list(range(n)) for n in LENGTHS]


@given(
    st.integers(0, 2**32),
    st.floats(0.01, 1),
    st.integers(1, 20),
    st.floats(0, 0.99),
    st.sampled_from([0.0, 1.0]),
)
def test_kept_steps_are_a_clips_own_in_order_and_never_none(
    seed: int, crop: float, stride: int, drop: float, reverse: float
) -> None:
    every = chosen(seed, crop=crop, stride=stride, drop=drop, reverse=reverse)
    for steps, n in zip(every, LENGTHS, strict=True):
        assert 1 <= len(steps) <= n
        assert set(steps) <= set(range(n))
        assert steps == sorted(set(steps), reverse=bool(reverse))
    assert every == chosen(seed, crop=crop, stride=stride, drop=drop, reverse=reverse)


def test_a_crop_is_a_run_of_any_size_allowed_at_any_place() -> None:
    seen = set()
    for seed in range(500):
        steps = chosen(seed, crop=0.5)[2]
        assert steps == list(range(steps[0], steps[-1] + 1))
        seen.add((steps[0], len(steps)))
    # Half of 7 is 3.5, which rounds to 4.
    assert seen == {(first, size) for size in (4, 5, 6, 7) for first in range(8 - size)}


def test_a_stride_is_even_starts_anywhere_below_it_and_spans_the_clip() -> None:
    seen = set()
    for seed in range(300):
        steps = chosen(seed, stride=3)[3]
        paces = set(np.diff(steps).tolist())
        assert len(paces) == 1
        (pace,) = paces
        assert steps[-1] + pace >= 12
        seen.add((pace, steps[0]))
    assert seen == {(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)}


def test_steps_are_dropped_and_clips_turned_as_often_as_asked() -> None:
    kept = [len(chosen(seed, drop=0.3)[3]) for seed in range(500)]
    assert np.mean(kept) / 12 == pytest.approx(0.7, abs=0.02)
    turned = [chosen(seed, reverse=0.25)[3][0] == 11 for seed in range(1000)]
    assert np.mean(turned) == pytest.approx(0.25, abs=0.05)


def test_turning_draws_nothing_that_the_others_need() -> None:
    straight, turned = (chosen(3, crop=0.5, drop=0.2, reverse=share) for share in (0.0, 1.0))
    assert turned == [steps[::-1] for steps in straight]


def clips() -> tuple[torch.Tensor, torch.Tensor]:
    """Features that say which clip and step they are; NaN in the padding."""
    mask = torch.arange(12) < torch.from_numpy(LENGTHS)[:, None]
    clip, step = torch.meshgrid(torch.arange(4.0), torch.arange(12.0), indexing="ij")
    return torch.stack([clip, step], dim=2).masked_fill(~mask[..., None], torch.nan), mask


def test_kept_steps_come_first_and_padding_is_zero() -> None:
    options = Augment(crop=0.5, stride=2, drop=0.2, reverse=0.5)
    features, mask = clips()
    got, new = change_time(features, mask, options, spread=False, rng=np.random.default_rng(5))
    expected = chosen(5, crop=0.5, stride=2, drop=0.2, reverse=0.5)
    assert new.sum(1).tolist() == [len(steps) for steps in expected]
    assert got.shape[1] == max(map(len, expected))
    for clip, steps in enumerate(expected):
        assert new[clip, : len(steps)].all()
        assert got[clip, : len(steps), 1].tolist() == steps
        assert (got[clip, : len(steps), 0] == clip).all()
    assert not got[~new].any()


def test_resampled_clips_keep_their_number_of_steps() -> None:
    features = clips()[0][3:]
    index, counts = np.array([[2, 5, 9, *range(9)]]), np.array([3])
    got, mask = take_steps(features, index, counts, spread=True)
    assert mask.all()
    assert got[0, :, 1].tolist() == [2] * 4 + [5] * 4 + [9] * 4


def test_nothing_asked_for_returns_the_batch_itself_and_draws_nothing() -> None:
    features, mask = clips()
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    got = change_time(features, mask, Augment(noise=1, mixup=1), spread=True, rng=rng)
    assert got[0] is features
    assert got[1] is mask
    assert rng.bit_generator.state == state
