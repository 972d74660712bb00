import numpy as np
import torch

from models.losses import soft_targets
from pipeline.augment import add_noise, mixup

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
