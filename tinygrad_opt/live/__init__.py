"""Pages that compute: the engine's own programs in the browser, without Python.

    playground    a network that learns, every number of it to be seen
    editable      a small graph whose numbers can be changed
    race          optimizers on a surface, from where the reader clicks

    rules.py      optimizers as modules, and their formulas as functions of numbers
    trainable.py  networks as modules
    templates.py  a module for all sizes
    typed_formulas.py  the operator table, for formulas that are typed on a page
    points.py     points of the plane
    live_page.py  the file that holds a page
"""

from tinygrad_opt.live.editing_page import editable
from tinygrad_opt.live.live_page import LivePage
from tinygrad_opt.live.playground_page import playground
from tinygrad_opt.live.points import points
from tinygrad_opt.live.race_page import race

__all__ = ["LivePage", "editable", "playground", "points", "race"]
