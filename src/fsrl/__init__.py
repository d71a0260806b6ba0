"""fsrl: what a sparse autoencoder's features promote and suppress, read from their logit weights.

Nothing heavy is imported here: `import fsrl` costs milliseconds; import the module that you need. The names
of the notebook API are here too, and load what they need when first asked for.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["HookedModel", "SAEAdapter", "SAEfeatureAnalyzer", "__version__"]

_HOMES = {
    "HookedModel": "fsrl.hooked_model",
    "SAEAdapter": "fsrl.sae_adapter",
    "SAEfeatureAnalyzer": "fsrl.feature_analyzer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
