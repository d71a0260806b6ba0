"""The keys of an SAE's configuration, each under SAELens' name and in the place where SAELens looks for it.

SAELens 6 reads what its classes have a field for at the top and what is about the model under `metadata`, and
drops what stands elsewhere or has another name. Before version 6 everything stood at the top.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from packaging.version import InvalidVersion, Version

from fsrl import arguments
from fsrl.errors import FsrlError

# Other names of a key: those of older versions of SAELens, and of other libraries.
OTHER_NAMES = {
    "hook_name": ("hook_point",),
    "hook_layer": ("hook_point_layer",),
    "hook_head_index": ("hook_point_head_index",),
    "activation_fn": (
        *("activation_fn_str", "activation", "activation_function", "activation_fn_name", "activation_type"),
        *("act_fn", "act", "nonlinearity", "non_linearity"),
    ),
    "hook_name_out": (
        *("out_hook_point", "out_hook_name", "hook_point_out", "hook_out"),
        *("output_hook_point", "output_hook_name"),
    ),
    "hook_layer_out": ("out_hook_point_layer", "out_hook_layer", "hook_point_layer_out"),
    "hook_head_index_out": ("out_hook_point_head_index", "hook_point_head_index_out"),
    "is_transcoder": ("transcoder",),
}
NAMES = {other: name for name, others in OTHER_NAMES.items() for other in others}
# Of the SAE, and fields of no class that runs one.
OF_THE_SAE = ("architecture", "activation_fn", "activation_fn_kwargs", "finetuning_scaling_factor")
OF_THE_HOOK = ("hook_layer", "hook_layer_out")
NOT_READ = ("dtype", "device")
# What SAELens 6 records after training, and what runs of version 5 and before wrote besides.
RECORDED = (
    *("training_architecture", "training_architecture_details", "l0", "num_dead_features"),
    "jump_relu_threshold",
    *("activation_fn", "activation_fn_kwargs", "apply_b_dec_to_input", "b_dec_init_method", "d_out"),
    *("checkpoint_id", "cached_activations_path", "dead_feature_estimation_method", "decoder_heuristic_init"),
    *("decoder_orthogonal_init", "expansion_factor", "from_pretrained_path", "ghost_grad_scale"),
    *("hook_eval", "init_encoder_as_decoder_transpose", "is_dataset_tokenized", "l1_coefficient"),
    *("l1_warm_up_steps", "llm_batch_size", "log_to_wandb", "lp_norm", "mse_loss_normalization"),
    *("noise_scale", "normalize_sae_decoder", "resume", "run_name", "sae_uuid", "scale_sparsity_penalty"),
    *("scale_sparsity_penalty_by_decoder_norm", "total_training_tokens", "tokens_per_buffer"),
    *("train_batch_size", "store_batch_size", "use_ghost_grads", "wandb_id", "feature_reinit_scale"),
    *("feature_resampling_method", "resample_batches", "lr_scheduler_name", "n_running_sparsity_steps"),
)


def is_old(version: Any) -> bool:
    """As SAELens tells them: what is older than 6, or does not say, has all keys at the top. Raises
    InvalidVersion or TypeError for what is no version.
    """
    return not version or Version(version) < Version("6.0.0-rc.0")


def in_place(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The configuration with each key under SAELens' name and in its place, wherever it stood; before
    version 6 null is as if the key were not there. Raises FsrlError, beginning with `where`, for two values
    of one key.
    """
    from sae_lens.loading.pretrained_sae_loaders import LLM_METADATA_KEYS

    metadata = given.get("metadata")
    if not isinstance(metadata, dict | None):
        raise FsrlError(f"{where}: metadata is {arguments.shown(metadata)}, expected an object of settings")
    # Those at the top are always ours.
    inside = {name: value for name, value in (metadata or {}).items() if name not in NOT_READ}
    top = {name: value for name, value in given.items() if name != "metadata"}
    _refuse_contradictions([(top, ""), (inside, " under metadata")], where)
    version = top.get("sae_lens_version") or inside.get("sae_lens_version")
    try:
        old = is_old(version)
    except (InvalidVersion, TypeError):
        raise FsrlError(f"{where}: sae_lens_version is {version!r}; give the version that wrote it") from None
    of_the_sae = {field.name for kind in _kinds() for field in fields(kind)} - {"metadata"}
    of_the_sae |= set(OF_THE_SAE)
    of_the_model = set() if old else LLM_METADATA_KEYS | set(OF_THE_HOOK)
    placed: dict[bool, dict[str, Any]] = {False: {}, True: {}}
    for level, is_inside in ((top, False), (inside, True)):
        for name, value in level.items():
            name = NAMES.get(name, name)
            goes_inside = name in of_the_model or (is_inside and (name not in of_the_sae or old))
            if value is not None:
                placed[goes_inside][name] = value
            elif name not in of_the_sae or not (old or is_inside):
                placed[goes_inside].setdefault(name, None)
    return {**placed[False], **({"metadata": placed[True]} if placed[True] else {})}


def written(given: Mapping[str, Any]) -> dict[str, str]:
    """What the file calls each key that it gives under another name."""
    levels = [given, given.get("metadata") or {}]
    return {
        NAMES[name]: name for level in levels for name in level if name in NAMES and level[name] is not None
    }


def _refuse_contradictions(levels: list[tuple[dict[str, Any], str]], where: str) -> None:
    said: dict[str, list[tuple[str, str, Any]]] = {}
    for level, suffix in levels:
        # SAELens' own name first.
        for name, value in sorted(level.items(), key=lambda item: item[0] in NAMES):
            if value is not None:
                said.setdefault(NAMES.get(name, name), []).append(
                    (name, f"{arguments.shown(value)}{suffix}", value)
                )
    for values in said.values():
        for name, shown, value in values[1:]:
            if value != values[0][2]:
                first = f"{values[0][0]} is {values[0][1]}"
                raise FsrlError(f"{where}: {first} and {name} is {shown}; keep the one that is right")


def _kinds() -> list[Any]:
    from sae_lens.registry import SAE_CLASS_REGISTRY

    return [config for _, config in SAE_CLASS_REGISTRY.values()]


def known() -> set[str]:
    """All keys that SAELens writes or wrote, or that are read here."""
    from sae_lens.config import LanguageModelSAERunnerConfig, LoggingConfig
    from sae_lens.loading.pretrained_sae_loaders import LLM_METADATA_KEYS
    from sae_lens.registry import SAE_TRAINING_CLASS_REGISTRY

    kinds = [*_kinds(), *(config for _, config in SAE_TRAINING_CLASS_REGISTRY.values())]
    found = {
        field.name for kind in (*kinds, LanguageModelSAERunnerConfig, LoggingConfig) for field in fields(kind)
    }
    return found | LLM_METADATA_KEYS | {*OF_THE_SAE, *OF_THE_HOOK, *RECORDED, *OTHER_NAMES}
