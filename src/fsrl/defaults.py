"""The settings of config/config.yaml that the library needs where nobody hands it a config: in a notebook.

One name has one answer: what a notebook computes for itself, it computes as the workflow does. A test
compares these with the config; change both. Imports nothing heavy.
"""

from typing import Any

# views, by name; of a lens it does not matter here where it is from.
VIEWS: dict[str, dict[str, Any]] = {
    "main": {"w_u": "folded", "tokens": "all", "cosine": False},
    "trained": {"w_u": "folded", "tokens": "trained", "cosine": False},
    "raw": {"w_u": "raw", "tokens": "all", "cosine": False},
    "cosine": {"w_u": "folded", "tokens": "all", "cosine": True},
    "transported": {"w_u": "folded", "tokens": "trained", "cosine": False, "transport": "same_position"},
    "lens": {"w_u": "folded", "tokens": "trained", "cosine": False, "transport": "lens"},
}
# study_defaults.figure_views: the first.
VIEW: dict[str, Any] = VIEWS["trained"]
# nulls: directions of the isotropic kind, of a layer's own kinds, and the seed of both.
NULL_DRAWS, LAYER_DRAWS, NULL_SEED = 100_000, 20_000, 0
# types: the default scheme and its settings.
SCHEME = "calibrated"
SCHEME_SETTINGS = {"level": 0.05, "tail_tokens": 17, "share": 0.25, "tail_share": 0.05, "spike_level": 0.01}
# tokens: occurrences that make a token a trained one; where counts are unknown, directions and their seed.
MIN_COUNT, TOKEN_DRAWS, TOKEN_SEED = 100, 20_000, 0
# steering, and of effects the tokens in a window, the samples and the seed.
STEERING: dict[str, Any] = {
    "features": "sampled",
    "multiple": 10,
    "top_tokens": 20,
    "prompts": (
        "From my experience,",
        "In my opinion,",
        "I think that",
        "It is said that",
        "We know that the",
        "After that, he",
        "There was a",
        "This is one of the",
    ),
}
EFFECTS_CONTEXT, EFFECTS_SEED = 128, 0
EFFECTS_SAMPLE = {"features_per_type": 24, "positions": 12, "contexts": 256, "own_jacobian": True}
LARGE_MODEL_ON_CPU = {
    "million_parameters": 50,
    "features_per_type": 6,
    "positions": 6,
    "contexts": 48,
    "own_jacobian": False,
}
# enrichment.level: false discovery rate of features and token sets.
ENRICHMENT_LEVEL = 0.05
