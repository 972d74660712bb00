"""Small data sets with files of OpenLABEL and BORIS, and their videos."""

import json
from pathlib import Path

from tests.pipeline.sources import test_boris as boris
from tests.pipeline.sources import test_openlabel as openlabel
from tests.videos import textured, write_video

PEOPLE = range(1, 6)


def write_dmd(folder: Path, number: int, *, channel: str = "ir") -> None:
    """Write the annotations of one person of the Driver Monitoring Dataset, and a video."""
    content = openlabel.content("1")
    content["objects"]["0"]["name"] = f"{number}"
    video = f"{number}/s1_rgb_body.mp4"
    content["streams"]["body_camera"]["uri"] = video
    (folder / f"{number}").mkdir(parents=True)
    (folder / f"{number}/s1_ann.json").write_text(json.dumps({"openlabel": content}))
    pictures = textured(openlabel.FRAMES, seed=number)
    write_video(folder / video.replace("rgb", channel), pictures)


def write_hens(folder: Path, *, media: str = "media") -> None:
    """Write a project of BORIS with an observation of each of five hens, and their videos."""
    observations = {}
    (folder / media).mkdir(exist_ok=True)
    for number in PEOPLE:
        name = f"hen{number}.mp4"
        events = [[time, f"hen {number}", *more] for time, _, *more in boris.EVENTS]
        observations[name] = boris.observation([name], events)
        write_video(folder / media / name, textured(200, seed=number), rate=25)
    project = boris.project() | {"observations": observations}
    (folder / "hens.boris").write_text(json.dumps(project))
