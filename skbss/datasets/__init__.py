"""Recordings to try the package on: bundled and synthetic."""

# License: BSD-3-Clause

from skbss.datasets.cocktail_party import load_cocktail_party
from skbss.datasets.synthetic import make_convolutive_mixture

__all__ = ["load_cocktail_party", "make_convolutive_mixture"]
