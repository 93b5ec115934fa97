"""The pages that run, as Jupyter notebooks: ``python docs/notebooks.py FOLDER`` writes them all.

A notebook holds the very cells that run when its page is built, read by the same reader, without
their output. As an extension of Sphinx it puts notebooks beside the pages, for a button there.
"""

import re
import sys
from pathlib import Path

import nbformat
from myst_nb.core.read import is_myst_markdown_notebook, read_myst_markdown_notebook

DOCS = Path(__file__).parent
INCLUDE = re.compile(r'```\{include\} (\S+)\n:start-after: "(.*)"\n:end-before: "(.*)"\n```')
PAGES = {page: page.relative_to(DOCS).with_suffix("").as_posix()
         for page in sorted(DOCS.rglob("*.md"))
         if page.stem != "index" and is_myst_markdown_notebook(page.read_text("utf-8"))}


def notebook(page):
    """The notebook of a page, with what it includes of others.

    Links lead to other notebooks or the web; the rest become text.
    """
    def included(match):
        path, after, before = match.groups()
        text = (page.parent / path).read_text("utf-8")
        return text.partition(after)[2].partition(before)[0].strip()

    def linked(match):
        text, target = match.groups()
        if (page.parent / target).resolve() in PAGES:
            return f"[{text}]({target.removesuffix('.md')}.ipynb)"
        return match[0] if ":" in target else text

    made = read_myst_markdown_notebook(page.read_text("utf-8"))
    made.metadata = {"kernelspec": made.metadata.kernelspec}
    for i, cell in enumerate(made.cells):
        cell.id = f"cell-{i}"                              # the same at each time
        if cell.cell_type == "markdown":
            source = INCLUDE.sub(included, cell.source)
            cell.source = re.sub(r"\[([^]]+)\]\(([^)\s]+)\)", linked, source)
    return made


def write(folder):
    """All notebooks, in the folders of their pages."""
    for page, name in PAGES.items():
        path = Path(folder, f"{name}.ipynb")
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook(page), path)


def setup(app):
    def offer(app, name, template, context, doctree):
        if name in PAGES.values():
            context["notebook"] = f"{name.rpartition('/')[2]}.ipynb"

    app.connect("html-page-context", offer)
    app.connect("build-finished", lambda app, error: error or write(app.outdir))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    write(sys.argv[1])
