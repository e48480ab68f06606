"""Source models and spatial updates, the exchangeable parts of the separators."""

# License: BSD-3-Clause

from skbss.updates.protocols import SourceModel, SpatialUpdate, VarianceModel
from skbss.updates.source import Cliques, Gauss, GeneralizedGauss, Laplace, StudentT
from skbss.updates.spatial import IP1, IP2, ISS1, ISS2

__all__ = [
    "IP1",
    "IP2",
    "ISS1",
    "ISS2",
    "Cliques",
    "Gauss",
    "GeneralizedGauss",
    "Laplace",
    "SourceModel",
    "SpatialUpdate",
    "StudentT",
    "VarianceModel",
]
