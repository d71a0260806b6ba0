"""LaTeX tables of a study: what it is made of, and the quantiles of the moments layer by layer."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fsrl.hooks import hook_label
from fsrl.latex import text as tex
from fsrl.latex.table import Column, tabular
from fsrl.names import SHARED
from fsrl.types.select import values

QUANTILES = (0.05, 0.5, 0.95, 0.999)
# Column as `fsrl.types.select.values` reads it -> head and decimals.
MOMENTS = {"std / norm": ("Std / norm", 3), "skewness": ("Skewness", 2), "kurtosis": ("Kurtosis", 2)}
SHOWN_OF_HASH = 12  # digits of a commit or a checksum, as git abbreviates it
COMMIT = 40


def studies(metadata: Mapping[str, Mapping[str, str]], features: Mapping[str, int], title: str) -> str:
    """What a study is made of: model, SAEs, how W_U was processed, revisions, versions.

    metadata: SAE id -> metadata of its table `moments`; features: SAE id -> number of rows of its decoder;
    title: the study's, as figures have it.
    """
    first = next(iter(metadata.values()))
    view = json.loads(first["view"])
    layers = [tex.escape(hook_label(sae)) for sae in metadata]
    span = layers[0] if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"
    packages = [
        f"{name} {first[name]}" for name in ("torch", "transformer-lens", "sae-lens") if name in first
    ]
    rows = [
        ("Study", tex.escape(title)),
        ("Model", _path(first["model"])),
        (r"\quad revision", _revisions([first["model_revision"]], [first["model_sha256"]])),
        (r"\quad residual stream", f"{tex.count(int(first['d_model']))} dimensions"),
        (r"\quad vocabulary", f"{tex.count(int(first['d_vocab']))} tokens; {_tokens(view, first)}"),
        (r"\quad $W_U$", _processing(first, view)),
        *_source(metadata),
        (r"\quad number", f"{tex.count(len(layers))} ({span})"),
        (r"\quad features of each", _range(list(features.values()))),
        (r"\quad decoder rows", _decoder(first)),
        ("Precision of the product", tex.escape(first["precision"])),
        ("Versions", tex.escape(", ".join(packages))),
    ]
    names, cells = zip(*rows, strict=True)
    spaces = [names.index(name) for name in ("Model", _source(metadata)[0][0], "Precision of the product")]
    return tabular([Column("", names), Column("", cells, "112mm")], spaces=spaces, tabcolsep=6)


def _source(metadata: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    """Where the directions come from; a model's neurons have no files of their own."""
    first = next(iter(metadata.values()))
    if "sae_sha256" not in first:
        return [("Directions", tex.escape(first["release"].removeprefix("none: ")))]
    revisions = _revisions(*_columns(metadata, "sae_revision", "sae_sha256"))
    named = [("Transcoders" if "encoder_hook" in first else "SAEs", _path(first["release"]))]
    return [*named, (r"\quad revision", revisions), *_places(first)]


def _places(first: Mapping[str, str]) -> list[tuple[str, str]]:
    """Of transcoders, where the first one reads and writes; an SAE does both at its hook."""
    if "encoder_hook" not in first:
        return []
    read = first["encoder_hook"].split(":")[0]
    said = rf"the first reads {_path(read)}, writes {_path(first['hook'])}, whose rows are studied"
    return [(r"\quad places", said)]


def _path(text: str) -> str:
    return rf"\texttt{{{tex.escape(text)}}}"


def _columns(metadata: Mapping[str, Mapping[str, str]], *names: str) -> list[list[str]]:
    return [list(dict.fromkeys(row[name] for row in metadata.values())) for name in names]


def _revisions(revisions: Sequence[str], hashes: Sequence[str]) -> str:
    """Commits cut as git cuts them, and the checksum where there is only one file."""
    shown = [_path(text[:SHOWN_OF_HASH]) if len(text) == COMMIT else tex.escape(text) for text in revisions]
    checksum = _path(hashes[0][:SHOWN_OF_HASH]) if len(hashes) == 1 else "of each SAE in the tables' metadata"
    return f"{', '.join(shown)}; SHA-256 {checksum}"


def _tokens(view: Mapping[str, object], first: Mapping[str, str]) -> str:
    if view["tokens"] == "all":
        return "all of them used"
    return f"trained ones used ({tex.escape(first['trained_tokens'])})"


def _processing(first: Mapping[str, str], view: Mapping[str, object]) -> str:
    """The clause of W_U_processing that is about this view."""
    clauses = dict(clause.split(": ", 1) for clause in first["W_U_processing"].split("; "))
    text = f"{view['w_u']}: {clauses[str(view['w_u'])]}"
    return tex.escape(text + ("; cosines, from centred columns" if view["cosine"] else ""))


def _decoder(first: Mapping[str, str]) -> str:
    mapping, scaling = first["decoder_mapping"], first.get("decoder_scaling", "none")
    if mapping == scaling == "none":
        return "as stored"
    return tex.escape(f"mapping: {mapping}; scaling: {scaling}")


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return tex.count(low) if low == high else f"{tex.count(low)} to {tex.count(high)}"


def moments_by_layer(layers: Mapping[str, pd.DataFrame], null: pd.DataFrame) -> str:
    """Quantiles of std / norm, skewness and kurtosis over the features of each layer.

    Features without a shape (constant rows) count in std and not in the others.

    layers: SAE id -> table `moments`; null: table `null`, of which the isotropic directions are the last row.
    """
    shared = null[null["kind"] == SHARED]
    frames = [*layers.values(), shared]
    heads = [tex.escape(hook_label(sae)) for sae in layers] + ["chance"]
    columns = [Column("Hook", heads), Column("$n$", [tex.count(len(f), bare=True) for f in frames], "S")]
    for name, (_, digits) in MOMENTS.items():
        found = np.array([_quantiles(frame, name) for frame in frames])
        for level, cells in zip(QUANTILES, found.T, strict=True):
            shown = [tex.number(value, digits=digits, bare=True) for value in cells]
            columns.append(Column(rf"$q_{{{level:g}}}$", shown, "S"))
    groups = [("", 2), *((head, len(QUANTILES)) for head, _ in MOMENTS.values())]
    return tabular(columns, groups=groups, rules=[len(layers)])


def _quantiles(frame: pd.DataFrame, name: str) -> np.ndarray:
    finite = values(frame, name)
    return np.quantile(finite, QUANTILES) if len(finite) else np.full(len(QUANTILES), np.nan)
