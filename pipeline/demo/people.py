"""Who sits in the cabin and what filmed them: looks that must not matter to a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

PARTICIPANTS = tuple(range(1, 16))
Hair = Literal["short", "long", "bun", "bald", "cap"]
HAIR: tuple[Hair, ...] = ("short", "long", "cap", "bun", "short", "bald")
Cloth = Literal["plain", "stripes", "open jacket"]
CLOTH: tuple[Cloth, ...] = ("plain", "stripes", "open jacket", "plain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One participant's body, clothes and seat; shades from 0 to 255, lengths in pixels.

    Attributes
    ----------
    number : int
        The participant, as in ``vp7``.
    seat : tuple of float
        How far the seat is moved from its middle position.
    build, height, head : float
        Factors on the width of the body, the length of the torso and the size of the head.
    """

    number: int
    seat: tuple[float, float]
    build: float
    height: float
    head: float
    skin: float
    hair: Hair
    hair_shade: float
    beard: bool
    cloth: Cloth
    cloth_shade: float
    trousers: float
    long_sleeves: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """The camera and the light of one participant's drive.

    Attributes
    ----------
    gain, gamma, noise : float
        Factor and exponent of the response; standard deviation of the read noise.
    lamp : tuple of float
        Where the illuminator points, in pixels.
    falloff : float
        Share of the light that is lost in the far corners.
    daylight, trim : float
        Shades of the window and of the cabin's lining.
    seed : int
        Seed of what is fixed in the picture: fabric, scenery, the sensor's pattern.
    """

    gain: float
    gamma: float
    noise: float
    lamp: tuple[float, float]
    falloff: float
    daylight: float
    trim: float
    seed: int


def make_people(seed: int) -> dict[int, tuple[Person, Camera]]:
    """Draw the fifteen participants and their cameras.

    Parameters
    ----------
    seed : int

    Returns
    -------
    dict
        Participant number to person and camera.
    """
    # Shades are spread evenly and then shuffled, so that 15 draws never look alike by chance.
    rng = np.random.default_rng([seed, 0])
    cloths = rng.permutation(np.linspace(65, 165, len(PARTICIPANTS)))
    builds = rng.permutation(np.linspace(0.88, 1.18, len(PARTICIPANTS)))
    looks = rng.permutation(len(PARTICIPANTS))
    return {
        number: (
            _person(rng, number, float(cloths[k]), float(builds[k]), int(looks[k])),
            _camera(rng),
        )
        for k, number in enumerate(PARTICIPANTS)
    }


def _person(rng: np.random.Generator, number: int, cloth: float, build: float, look: int) -> Person:
    hair = HAIR[look % len(HAIR)]
    return Person(
        number=number,
        seat=(float(rng.uniform(-5, 4)), float(rng.uniform(-2, 4))),
        build=build,
        height=float(rng.uniform(0.93, 1.08)),
        head=float(rng.uniform(0.92, 1.1)),
        skin=float(rng.uniform(165, 225)),
        hair=hair,
        hair_shade=float(rng.uniform(30, 150)),
        beard=hair != "long" and hair != "bun" and bool(rng.random() < 0.35),
        cloth=CLOTH[look % len(CLOTH)],
        cloth_shade=cloth,
        trousers=float(rng.uniform(45, 120)),
        long_sleeves=bool(rng.random() < 0.6),
    )


def _camera(rng: np.random.Generator) -> Camera:
    return Camera(
        gain=float(rng.uniform(0.88, 1.12)),
        gamma=float(rng.uniform(0.92, 1.1)),
        noise=float(rng.uniform(1.0, 3.5)),
        lamp=(float(rng.uniform(56, 76)), float(rng.uniform(42, 62))),
        falloff=float(rng.uniform(0.45, 0.6)),
        daylight=float(rng.uniform(115, 185)),
        trim=float(rng.uniform(38, 64)),
        seed=int(rng.integers(2**31)),
    )
