"""A drawn stand-in for Drive&Act: an infrared-like driving cabin in the official layout.

Nothing here is real: no person, car or recording. It lets a new user see both stages work, and
it holds pairs of activities that are each other's reverse in time, which only a model that
knows the order of the frames can tell apart.
"""

from pipeline.demo.draw import draw_demo
from pipeline.demo.match import draw_matching

__all__ = ["draw_demo", "draw_matching"]
