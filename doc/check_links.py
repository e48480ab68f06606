"""Check that every link inside the built pages leads somewhere.

Run ``python doc/check_links.py doc/_build/html``. It prints what is broken and exits
with 1, or counts the pages and exits with 0. What a page loads, such as scripts, must
be among the pages too: they work without a network.
"""

# License: BSD-3-Clause

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links of a page and the places that others may link to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.places, self.loads = [], set(), []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        """Collect what a tag refers to and what it is called."""
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.links.append(value)
                if name == "src" or tag == "link":
                    self.loads.append(value)
            elif name in ("id", "name") and value:
                self.places.add(value)


def broken_links(folder):
    """Yield (page, link) for each link to a file or place that isn't there."""
    paths = Path(folder).rglob("*.html")
    pages = {p.resolve(): Page(p) for p in paths if "_static" not in p.parts}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loads and parts.scheme != "data":
                    yield path.relative_to(Path(folder).resolve()), link
                continue
            target = (path.parent / unquote(parts.path)).resolve()
            target = path if not parts.path else target
            place = unquote(parts.fragment)
            known = pages[target].places if target in pages else None
            if not target.is_file() or (place and known and place not in known):
                yield path.relative_to(Path(folder).resolve()), link


def main(folder):
    """Print broken links; return the exit status."""
    pages = list(Path(folder).rglob("*.html"))
    if not pages:
        print(f"Got no pages in {folder}.")
        return 1
    broken = sorted(set(broken_links(folder)))
    for page, link in broken:
        print(f"{page}: {link}")
    print(f"{len(pages)} pages, {len(broken)} broken links")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
