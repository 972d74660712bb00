import numpy as np
import torch

from pipeline.finetune.options import Tuning
from pipeline.finetune.pixels import Pixels, change_light, change_place

CPU = torch.device("cpu")


def ramp(count: int = 200) -> torch.Tensor:
    """Frames whose values are their columns' places, 0 to 1."""
    return torch.linspace(0, 1, 33).expand(count, 1, 33, 33).contiguous()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_changes_pixels_are_normalised_bytes() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), np.uint8)
    found = Pixels([0.4], [0.2], CPU)(frames)
    expected = np.repeat((frames / 255 - 0.4) / 0.2, 3, axis=1)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    three = Pixels([0.1, 0.2, 0.3], [0.5, 0.6, 0.7], CPU)(frames).numpy()
    np.testing.assert_allclose(three[:, 2], (frames[:, 0] / 255 - 0.3) / 0.7, atol=1e-5)


def test_no_crop_and_no_light_change_nothing() -> None:
    torch.testing.assert_close(change_place(ramp(), 1.0), ramp())
    torch.testing.assert_close(change_light(ramp(), 0.0), ramp())


def test_crops_lie_within_the_frame_and_have_sides_of_their_own() -> None:
    x = change_place(ramp(), 0.6, generator=seeded())
    wide = (x[:, 0, 0, -1] - x[:, 0, 0, 0]).numpy()
    assert (x >= 0).all()
    assert (x <= 1).all()
    assert wide.min() > 0.55  # 0.6 less what the borders' half pixels take
    assert wide.max() < 1.01
    assert wide.std() > 0.05
    high = change_place(ramp().transpose(2, 3).contiguous(), 0.6, generator=seeded())
    tall = (high[:, 0, -1, 0] - high[:, 0, 0, 0]).numpy()
    assert abs(np.corrcoef(wide, tall)[0, 1]) < 0.3


def test_half_of_the_frames_are_mirrored_if_asked_for() -> None:
    mirrored = change_place(ramp(), 1.0, flip=True, generator=seeded())
    falls = mirrored[:, 0, 0, 0] > mirrored[:, 0, 0, -1]
    assert 60 < int(falls.sum()) < 140
    torch.testing.assert_close(mirrored[falls], ramp(int(falls.sum())).flip(3))
    torch.testing.assert_close(mirrored[~falls], ramp(int((~falls).sum())))


def test_light_moves_means_and_spreads_within_bounds() -> None:
    x = 0.4 + 0.2 * ramp()
    found = change_light(x, 0.2, generator=seeded())
    means = (found.mean(dim=(1, 2, 3)) / x.mean()).numpy()
    spreads = (found.std(dim=(1, 2, 3)) / x[0].std()).numpy()
    for values in (means, spreads):
        assert values.min() > 0.8 - 1e-4
        assert values.max() < 1.2 + 1e-4
        assert values.std() > 0.05
    assert abs(np.corrcoef(means, spreads)[0, 1]) < 0.3
    assert change_light(ramp(), 0.9, generator=seeded()).max() == 1


def test_the_same_seed_gives_the_same_pixels() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), np.uint8)
    pixels, tuning = Pixels([0.4], [0.2], CPU), Tuning(crop=0.5, flip=True)
    one, same, other = (pixels(frames, tuning, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
