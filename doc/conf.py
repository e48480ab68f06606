"""Sphinx configuration; ``make doc`` builds the pages without a network."""

# License: BSD-3-Clause

import re
from pathlib import Path

import skbss

project = "skbss"
author = "The skbss developers"
copyright = "The skbss developers, BSD 3-clause license"
version = release = skbss.__version__

extensions = [
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",  # equations without a network
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]

# No intersphinx: it would ask other sites for their inventories.
extlinks = {"doi": ("https://doi.org/%s", "doi:%s")}
autosummary_generate = True
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
autodoc_typehints = "none"  # types are in the docstrings
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "**.ipynb"]
default_role = "autolink"  # `name` in docstrings is code, or a link where it can be
suppress_warnings = ["config.cache"]  # the gallery's sorting key can't be pickled

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = f"skbss {version}"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["skbss.css"]
html_show_sourcelink = False
html_context = {"default_mode": "auto"}
html_sidebars = {page: [] for page in ("index", "install", "start")}  # no subpages
html_theme_options = {
    "logo": {
        "text": "skbss",
        "image_light": "_static/favicon.svg",
        "image_dark": "_static/favicon.svg",
    },
    "navbar_end": ["theme-switcher"],
    "show_prev_next": True,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}

sphinx_gallery_conf = {
    "examples_dirs": str(Path(__file__).parents[1] / "examples"),
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,  # that page asks other sites for its style
    "min_reported_time": 1,
    "reset_modules": ("matplotlib",),
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skbss",),
    "copyfile_regex": r".*\.(yaml|wav)$",
    "image_scrapers": ("matplotlib",),
    "capture_repr": ("_repr_html_",),
}


def skip_inherited(app, what, name, obj, skip, options):
    """Leave out what scikit-learn documents: its pages link to each other."""
    inherited = str(getattr(obj, "__module__", "")).startswith("sklearn.")
    return skip or (inherited and name != "fit_transform")


def shorten_inherited(app, what, name, obj, options, lines):
    """Describe fit_transform by fit and transform, whose shapes are the right ones."""
    module = str(getattr(obj, "__module__", ""))
    if name.endswith(".fit_transform") and module.startswith("sklearn."):
        lines[:] = ["Call `fit`, then `transform`, on the same `X`.", ""]


def leave_out_signature(app, what, name, obj, options, signature, annotation):
    """Leave out how to call what isn't called: protocols have an ``__init__``, too."""
    return ("", None) if getattr(obj, "_is_protocol", False) else None


def cut_links_back(app, pagename, templatename, context, doctree):
    """Leave links from source to reference out: viewcode mixes up names of modules."""
    if pagename.startswith("_modules/"):
        link = r'<a class="viewcode-back".*?</a>'
        context["body"] = re.sub(link, "", context["body"])


def setup(app):
    """Connect to Sphinx."""
    app.connect("autodoc-skip-member", skip_inherited)
    app.connect("autodoc-process-docstring", shorten_inherited, priority=400)
    app.connect("autodoc-process-signature", leave_out_signature)
    app.connect("html-page-context", cut_links_back)
