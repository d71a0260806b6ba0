"""fsrl: what a sparse autoencoder's features promote and suppress, read from their logit weights.

Nothing heavy is imported here: `import fsrl` costs milliseconds. Code imports the modules that define what it
uses (`from fsrl.moments.engine import logit_moments`); the names below are what notebooks and READMEs ask
for, under short names that stay, and they load what they need when first asked for.
"""

from functools import partial
from importlib import import_module
from typing import Any

# Public name -> the module that defines it, for the package and for the rooms that have public names of their
# own. (workflow/imports.py reads this table as text: keep it a literal.)
PUBLIC: dict[str, dict[str, tuple[str, ...]]] = {
    "fsrl": {
        "fsrl._version": ("__version__",),
        "fsrl.adapter.adapter": ("SAEAdapter",),
        "fsrl.adapter.hooked_model": ("HookedModel",),
        "fsrl.analyzer.analyzer": ("SAEfeatureAnalyzer",),
    },
    "fsrl.enrichment": {"fsrl.enrichment.statistics": ("frequency_strata", "set_statistics", "testable")},
    "fsrl.moments": {
        "fsrl.moments.engine": (
            "LogitMoments",
            "Reading",
            "decoder_moments",
            "logit_moments",
            "logit_moments_of_readings",
            "logit_moments_of_views",
        ),
        "fsrl.moments.formulas": ("Typical", "row_moments", "tail_tokens"),
    },
    "fsrl.neuronpedia": {
        "fsrl.neuronpedia.api": ("explanations", "feature", "features"),
        "fsrl.neuronpedia.links": ("embed_url", "feature_url", "quick_list_url", "source_id"),
    },
    "fsrl.nulls": {
        "fsrl.nulls.frames": ("isotropic", "isotropic_of_views", "of_layer"),
    },
    "fsrl.tables": {"fsrl.tables.core": ("Column", "Table", "read", "read_metadata", "write")},
    "fsrl.weights": {
        "fsrl.weights.matrices": (
            "Decoder",
            "Unembedding",
            "View",
            "read_decoder",
            "read_unembedding",
            "view",
            "view_unembedding",
            "write_decoder",
            "write_unembedding",
        ),
    },
}
__all__ = ["HookedModel", "SAEAdapter", "SAEfeatureAnalyzer", "__version__"]


def _find(place: str, name: str) -> Any:
    for module, names in PUBLIC[place].items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {place!r} has no attribute {name!r}")


def _list(place: str, own: dict[str, Any]) -> list[str]:
    return sorted({*own, *(name for names in PUBLIC[place].values() for name in names)})


def _give_faces() -> None:
    """Rooms hold a docstring and no code: what they answer for is looked up here (PEP 562)."""
    for place in PUBLIC:
        module = import_module(place)
        vars(module)["__getattr__"] = partial(_find, place)
        vars(module)["__dir__"] = partial(_list, place, vars(module))


_give_faces()
