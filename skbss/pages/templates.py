"""Templates of pages that are one file, and the style of all of them."""

# License: BSD-3-Clause

import re
from importlib import resources

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape


def templates(package: str) -> Environment:
    """Return the templates of a package, which escape whatever is put into them.

    Parameters
    ----------
    package : str
        Its name. The templates are beside its modules.

    Returns
    -------
    environment : Environment
        With the variable ``css``, the style of all pages, the filter ``breakable`` and
        the test ``finite``.
    """
    environment = Environment(
        loader=PackageLoader(package, "."), autoescape=True, undefined=StrictUndefined
    )
    style = resources.files("skbss.pages").joinpath("page.css").read_text("utf-8")
    environment.globals["css"] = Markup(style)
    environment.filters["breakable"] = breakable
    environment.tests["finite"] = lambda value: bool(np.isfinite(value))
    return environment


def breakable(name: str) -> Markup:
    """Return text that may be broken after commas and dots, but not in numbers."""
    return Markup(re.sub(r",|\.(?=[a-z_])", r"\g<0><wbr>", str(escape(name))))
