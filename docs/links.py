"""Checks, when the pages are built, that every link leads somewhere.

Files and anchors are looked for among what was built; what lies on the network is for
``python -m sphinx -b linkcheck docs build/links``, here only its form is looked at.
"""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.errors import SphinxError


class Page(HTMLParser):
    """The ids of a page, and where its links, pictures and scripts lead."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links = set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id" or (name == "name" and tag == "a"):
                self.ids.add(value)
            elif name in ("href", "src", "srcset") and value:
                self.links.add(value)


def broken(root):
    """Every link of the pages under a folder that leads nowhere, with its page."""
    pages = {path.resolve(): Page(path) for path in sorted(Path(root).rglob("*.html"))}
    for path, page in pages.items():
        for link in sorted(page.links):
            url = urlsplit(link)
            if url.scheme in ("data", "mailto"):
                continue
            if url.scheme or url.netloc:
                fine = url.scheme == "https" and "." in url.netloc
            else:
                target = (path.parent / unquote(url.path)).resolve() if url.path else path
                anchors = pages[target].ids | {""} if target in pages else {""}
                fine = target.exists() and unquote(url.fragment) in anchors
            if not fine:
                yield f"{path.relative_to(Path(root).resolve())}: {link}"


def check(app, exception):
    if exception is None and app.builder.name == "html":
        found = list(broken(app.outdir))
        if found:
            raise SphinxError("links that lead nowhere:\n" + "\n".join(found))


def setup(app):
    app.connect("build-finished", check)
    return {"parallel_read_safe": True}
