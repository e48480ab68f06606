"""Recordings to try the package on: bundled, synthetic, simulated and on disk."""

# License: BSD-3-Clause

from skbss.datasets.cocktail_party import load_cocktail_party
from skbss.datasets.registry import check_dataset, load_dataset, register_dataset
from skbss.datasets.rooms import make_room_mixture
from skbss.datasets.scene_files import SceneError, save_scene
from skbss.datasets.scene_folder import SceneFolder
from skbss.datasets.synthetic import make_convolutive_mixture

__all__ = [
    "SceneError",
    "SceneFolder",
    "check_dataset",
    "load_cocktail_party",
    "load_dataset",
    "make_convolutive_mixture",
    "make_room_mixture",
    "register_dataset",
    "save_scene",
]
