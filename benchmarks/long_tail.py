"""Thin out the training clips of a table, so that its classes become very unequal.

::

    python benchmarks/long_tail.py clips.csv splits.csv OUT [--numbers 0,1,2] [--ratio 20]

Writes OUT/N/long-tail/clips.csv for every split N: the training clips of the k-th of K classes are
a random share of ratio ** -(k / (K - 1)) of what they were, classes in a random order. Val and
test stay whole.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd


def thinned(clips: pd.DataFrame, part: pd.Series, ratio: float, seed: int) -> pd.DataFrame:
    """Leave out training clips; `part` is what each subject belongs to."""
    rng = np.random.default_rng(seed)
    classes = rng.permutation(sorted(clips["label"].unique()))
    training = clips["subject"].map(part) == "train"
    kept = [clips[~training]]
    for rank, name in enumerate(classes):
        own = clips[training & (clips["label"] == name)]
        share = ratio ** (-rank / (len(classes) - 1))
        kept.append(own.sample(max(1, round(share * len(own))), random_state=rng))
    return pd.concat(kept).sort_index()


def main() -> None:
    """Write a table for every split."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("splits", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--numbers", default="0,1,2")
    parser.add_argument("--ratio", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    clips, splits = pd.read_csv(given.clips), pd.read_csv(given.splits, index_col="subject")
    folder = given.clips.resolve().parent
    clips["video"] = [str(folder / video) for video in clips["video"]]
    for number in given.numbers.split(","):
        own = thinned(clips, splits[f"split_{number}"], given.ratio, given.seed)
        path = given.out / number / "long-tail" / "clips.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        own.to_csv(path, index=False)
        print(f"{path}: {len(own)} of {len(clips)} clips")


if __name__ == "__main__":
    main()
