"""How the site is built: ``python -m sphinx -W docs build/site``."""

import os
import sys
from pathlib import Path

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

import tinygrad_opt
from tinygrad_opt.viz.theme import DARK

sys.path.insert(0, str(Path(__file__).parent))

project = "tinygrad_opt"
author = "the tinygrad_opt developers"
version = release = tinygrad_opt.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon",
              "sphinx_copybutton", "notebooks", "links"]
templates_path = ["_templates"]
exclude_patterns = ["build", "**/.ipynb_checkpoints"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

# every block of code on a page is run; an error is a warning with its traceback, and -W counts it
nb_execution_mode = "force"
nb_execution_show_tb = True
nb_execution_timeout = 120
nb_execution_in_temp = True                # what a page writes is not left in docs/
nb_merge_streams = True
os.environ["PYTHONSTARTUP"] = str(Path(__file__).parent / "in_kernel.py")
os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"                 # the docstrings say the types, with shapes
autosummary_generate = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_param = False
napoleon_custom_sections = [("Attributes", "params_style")]      # several names may share a line
add_module_names = False
suppress_warnings = ["ref.python"]        # words of shapes that are names of attributes too

# pictures that pages name in <picture>, for light and dark readers, are copied as they are
html_extra_path = sorted(path.name for path in Path(__file__).parent.glob("*_light.*"))
html_extra_path += sorted(path.name for path in Path(__file__).parent.glob("*_dark.*"))
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("frames.js", {"defer": "defer"})]
html_theme = "furo"
html_title = "tinygrad_opt"
html_theme_options = {
    "sidebar_hide_name": False,
    "dark_css_variables": {"color-background-primary": DARK.page},   # that of the pictures
}
html_show_copyright = False
pygments_style, pygments_dark_style = "default", "github-dark"
highlight_language = "none"                # of what does not say its language
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
html_math_renderer = "mathml"              # browsers draw it by themselves: no script, no network


def formula(self, node):
    """A formula in a line."""
    self.body.append(convert(node.astext()))
    raise SkipNode


def displayed_formula(self, node):
    """A formula of its own."""
    self.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise SkipNode


NESTED = {"Attributes", "Parameters", "Raises", "Returns", "Yields"}      # indents have a meaning


def keep_lines(app, what, name, obj, options, lines):
    """Let an indented block of a docstring stand as it is: formulas, tables and code."""
    if what == "module":                                   # nothing but its blocks is indented
        lines[:] = [*obj.__doc__.splitlines(), ""]
    elif what == "property" and lines:                     # no type stands before a colon here
        lines[0] = lines[0].replace(": ", " – ", 1)
    kept, section, inside, before = [], "", False, ""
    for line, after in zip(lines, [*lines[1:], ""]):
        if after and not after.strip("-"):
            section = line
        if line.strip():
            indented = line.startswith(" ")
            if (indented and not inside and section not in NESTED and not kept[-1].strip()
                    and not before.endswith("::") and not line.lstrip().startswith("- ")):
                kept += ["::", ""]
            inside, before = indented, line
        kept.append(line)
    lines[:] = kept


def keep_bars(app, what, name, obj, options, lines):
    """Let |x| in a docstring be an absolute value; reStructuredText has another use for bars."""
    example = listing = False
    for i, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        listing = line.endswith("::") or (listing and not line[:1].strip())
        if not example and not listing:
            parts = line.split("``")                       # every second one is code
            parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
            lines[i] = "``".join(parts)


def setup(app):
    app.add_html_math_renderer("mathml", (formula, None), (displayed_formula, None))
    app.connect("autodoc-process-docstring", keep_lines, priority=400)       # before napoleon
    app.connect("autodoc-process-docstring", keep_bars)
