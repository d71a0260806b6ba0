"""What a feature analyzer reads of a running model and its SAE: W_U with tokens, decoder rows, densities.

TransformerLens folds the final norm's weight into W_U, and for a LayerNorm takes the mean over d_model out
of it (when a HookedTransformer is loaded; for a TransformerBridge in compatibility mode); here it is done to
whatever W_U the model holds, by the norm that it has (`fsrl.models.head`), which changes nothing where it was
done before. TransformerLens also centres W_U over the vocabulary, and then nobody can tell the mean logit
weight any more: it comes out as 0. The other moments do not depend on it.
"""

import dataclasses
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from fsrl import defaults, plain
from fsrl.adapter.hooked_model import HookedModel
from fsrl.errors import FsrlError
from fsrl.hooks import MAPPED, WRITTEN, layer_of, point_of
from fsrl.models import export, saes, writing
from fsrl.models.decoder_rows import decoder_rows
from fsrl.models.fit import is_bridge
from fsrl.models.head import Head, read_head
from fsrl.models.sae_files import SAEFiles
from fsrl.nulls import cache as null_cache
from fsrl.nulls import undertrained
from fsrl.tokens.vocabulary import Vocabulary
from fsrl.tokens.vocabulary import read as read_vocabulary
from fsrl.weights import transport as weights_transport
from fsrl.weights.files import content_hash
from fsrl.weights.matrices import Decoder, Unembedding, read_unembedding
from fsrl.weights.transport import Transport

logger = logging.getLogger(__name__)

# Beside the model's folder in the folder of a study.
COUNTS, TEXT = "token_counts.safetensors", "evaluation_text.txt"
# A mean over the vocabulary this small beside W_U's spread is rounding.
CENTRED = 1e-5


@dataclass(frozen=True, eq=False)
class AnalyzedWeights:
    """Both matrices on the CPU, float32. has_raw: whether unembedding.raw is W_U as stored, else it repeats
    the folded one; vocabulary_centred: whether mean logit weights are lost (they come out as 0); transport:
    for views with it, None where none was given.
    """

    unembedding: Unembedding
    decoder: Decoder
    has_raw: bool
    vocabulary_centred: bool
    transport: Transport | None = None


def read(
    sae_model: HookedModel,
    *,
    unembedding: Unembedding | str | Path | None = None,
    token_counts: str | Path | None = None,
    sparsity: Tensor | None = None,
    transport_matrices: Transport | str | Path | None = None,
) -> AnalyzedWeights:
    """Of the model and the SAE in `sae_model`, or with W_U of an `Unembedding` (or its file) in its place.

    token_counts, sparsity, transport_matrices: as `SAEfeatureAnalyzer` takes them. Raises FsrlError for a
    model without tokenizer, a hook whose directions are not in the residual stream, and what does not fit.
    """
    model = sae_model.model
    if unembedding is None:
        head = read_head(model, f"analyzer: {model.cfg.model_name}")
        own, has_raw = _own_unembedding(model, head, token_counts), _is_raw(model, head)
    else:
        if token_counts is not None:
            raise FsrlError("analyzer: give token_counts or an unembedding, which holds its own counts")
        given = read_unembedding(unembedding) if isinstance(unembedding, str | Path) else unembedding
        own, has_raw = _fitting(given, model), True
    spread = own.folded.std()
    centred = bool(own.folded.mean(dim=1).abs().max() <= CENTRED * spread)
    if isinstance(transport_matrices, str | Path):
        transport_matrices = weights_transport.read(transport_matrices)
    return AnalyzedWeights(own, _decoder(sae_model, sparsity), has_raw, centred, transport_matrices)


def with_trained(found: AnalyzedWeights, model: Any) -> AnalyzedWeights:
    """With the undertrained tokens told, by their distance in raw W_U where no counts are known.

    It takes as long as the moments of 20,000 directions, and is kept for next time (`fsrl.nulls.cache`).
    Raises FsrlError where raw W_U is not known either, and as `fsrl.nulls.undertrained.by_distance`.
    """
    own = found.unembedding
    if own.trained is not None:
        return found
    if not found.has_raw:
        raise FsrlError(
            "analyzer: which tokens are undertrained is not known of a processed model; give token_counts, "
            "an unembedding of the workflow, or HookedTransformer.from_pretrained_no_processing's model"
        )
    # As the workflow does it: columns of W_U beyond the vocabulary are padding.
    spare = model.W_U.detach()[:, len(own.tokens) :].float().cpu()
    chosen = {"draws": defaults.TOKEN_DRAWS, "seed": defaults.TOKEN_SEED}

    def tell() -> tuple[Tensor, str]:
        """Which tokens are trained, and by what it was told."""
        told = undertrained.by_distance(
            own.raw, own.folded, own.tokens, spare=spare, owned=own.owned, **chosen
        )
        return told.trained, told.description

    read = {"raw": own.raw, "folded": own.folded, "spare": spare}
    read |= {} if own.owned is None else {"owned": own.owned}
    words = hashlib.sha256("\n".join(own.tokens).encode()).hexdigest()
    made_from = {"W_U": content_hash(read), "tokens": words}
    trained, description = null_cache.trained(
        made_from | {name: str(value) for name, value in chosen.items()}, tell
    )
    metadata = {**own.metadata, "trained_tokens": description}
    return dataclasses.replace(
        found, unembedding=dataclasses.replace(own, trained=trained, metadata=metadata)
    )


def study_folder(model: Any) -> Path | None:
    """The folder of a study that this model was loaded from (its model is in model/), if there is one."""
    folder = Path(str(model.cfg.model_name))
    has_more = any((folder.parent / name).exists() for name in (COUNTS, TEXT, "saes"))
    return folder.parent if folder.name == "model" and folder.is_dir() and has_more else None


def study_name(model: Any) -> str:
    """What names the model in titles, on one line."""
    folder = study_folder(model)
    return plain.line(str(model.cfg.model_name) if folder is None else folder.resolve().name)


def beside_model(model: Any, name: str) -> Path | None:
    """A file of the model's study, if it has one of this name."""
    folder = study_folder(model)
    return folder / name if folder is not None and (folder / name).is_file() else None


def tokens_of(model: Any) -> tuple[str, ...]:
    """The tokens as `fsrl.tokens.text` spells them, without W_U's padding; FsrlError without a tokenizer."""
    return _vocabulary(model).tokens


def _vocabulary(model: Any) -> Vocabulary:
    if model.tokenizer is None:
        raise FsrlError("analyzer: the model has no tokenizer, so its tokens have no names; set one")
    return read_vocabulary(model.tokenizer, model.W_U.shape[1])


def _own_unembedding(model: Any, head: Head, token_counts: str | Path | None) -> Unembedding:
    vocabulary = _vocabulary(model)
    tokens, owned = vocabulary.tokens, torch.from_numpy(vocabulary.owned)
    W_U = model.W_U.detach()[:, : len(tokens)].float().cpu().contiguous()
    folded = export.fold(W_U, head.gain, head.norm, head.scale)
    path = token_counts or beside_model(model, COUNTS)
    counts = None if path is None else export.read_counts(Path(path), len(tokens))
    trained = None if counts is None else (counts >= defaults.MIN_COUNT) & owned
    return Unembedding(
        folded,
        W_U,
        tokens,
        counts,
        trained,
        {"model": str(model.cfg.model_name), "tokenizer": vocabulary.kind, **head.metadata()},
        torch.from_numpy(vocabulary.special),
        None if owned.all() else owned,
    )


def _is_raw(model: Any, head: Head) -> bool:
    """Whether W_U is as stored (or centred over the vocabulary, which changes the mean alone)."""
    if is_bridge(model):
        # Compatibility mode may leave the weights alone, and they may be processed without it. Folding leaves
        # a gain of ones.
        processed = getattr(model, "_weights_processed", True)
        return not processed or (head.gain is not None and bool((head.gain != 1).any()))
    return not str(model.cfg.normalization_type).endswith("Pre")


def _fitting(given: Unembedding, model: Any) -> Unembedding:
    if given.tokens != tokens_of(model) or given.folded.shape[0] != model.W_U.shape[0]:
        raise FsrlError(
            f"analyzer: the unembedding is of {given.metadata.get('model', 'another model')}, and the model "
            f"is {model.cfg.model_name}: tokens or d_model differ; give the one of this model"
        )
    return given


def _decoder(sae_model: HookedModel, sparsity: Tensor | None) -> Decoder:
    adapter, hook = sae_model.sae_adapter, sae_model.hook_name
    if point_of(hook) not in (*WRITTEN, *MAPPED):
        raise FsrlError(
            f"analyzer: directions at {hook} are not in the residual stream and have no logit weights; give "
            "an SAE of a residual, attention or MLP output, of hook_z or of hook_post"
        )
    rows, mapping = writing.in_stream(decoder_rows(adapter.sae), sae_model.model, hook, "analyzer")
    rows = rows.cpu().contiguous()
    if sparsity is not None:
        sparsity = saes.known_densities(sparsity.detach().cpu(), len(rows), "analyzer")
    density = _densities(adapter) if sparsity is None else sparsity
    layer = -1 if hook == "hook_embed" else layer_of(hook)
    name = adapter.identity.sae_id or hook
    metadata = {"release": str(adapter.identity.release), "decoder_mapping": mapping}
    return Decoder(rows, density, hook, layer, name, metadata)


def _densities(adapter: Any) -> Float32[Tensor, "d_sae"] | None:
    """Those that were read with the SAE or lie beside it; None, with a warning, where there are none."""
    if adapter.log10_density is not None:
        return adapter.log10_density.detach().float().cpu()
    place, sae_id = adapter.place, adapter.identity.sae_id
    if place is None or sae_id is None:
        logger.warning("densities of the features are unknown; give sparsity=")
        return None
    try:
        files = SAEFiles.of(saes.source_of(place, sae_id), sae_id)
        return saes.densities(files, adapter.cfg.d_sae)
    except FsrlError as error:
        logger.warning("densities of the features are unknown (%s); give sparsity=", error)
        return None
