"""Pages that compute: the engine's own programs in the browser, without Python.

    playground    a network that learns, every number of it to be seen

    rules.py      optimizers as modules, and their formulas as functions of numbers
    trainable.py  networks as modules
    templates.py  a module for all sizes
    points.py     points of the plane
    live_page.py  the file that holds a page
"""

from tinygrad_opt.live.live_page import LivePage
from tinygrad_opt.live.playground_page import playground
from tinygrad_opt.live.points import points

__all__ = ["LivePage", "playground", "points"]
