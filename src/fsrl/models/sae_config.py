"""What an SAE's configuration says, checked: a key that changes what is computed is read, or the SAE refused.

SAELens reads cfg.json and drops what its classes have no field for. Keys of any version, at the top or under
`metadata`, and what becomes of them here:

| key | |
|---|---|
| architecture | read; refused: those that SAELens does not run |
| d_in, d_sae, of a transcoder d_out | read; refused where W_dec has another shape |
| k | read; refused where a topk SAE lacks it (SAELens would take 100) or has fewer features |
| activation_fn, activation_fn_str, activation_fn_kwargs | read; refused unless the architecture computes it |
| apply_b_dec_to_input, rescale_acts_by_decoder_norm, tied_weights, ... | read; refused unless true or false |
| residual_threshold, kval_topk, activation_normalization_factor, ... | read; refused unless numbers |
| finetuning_scaling_factor | read, with its tensor scaling_factor; one without the other is refused |
| normalize_activations | read; refused: unknown ones, and a norm or whitening whose factor is nowhere |
| reshape_activations | read; refused: unknown ones, and hook_z at another hook |
| hook_name (hook_point) | read; no logit weights where it neither is in the residual stream nor maps to it |
| hook_layer (hook_point_layer) | refused where it is not the layer of hook_name |
| hook_head_index (hook_point_head_index) | refused: the SAE of one head |
| hook_name_out, d_out, ... | of a transcoder: read; refused where an SAE writes another place than it reads |
| is_transcoder | refused where true and the architecture is an SAE's |
| model_name | read; refused where the study's model is another |
| model_class_name | refused where it is no transformer, as HookedMamba |
| model_from_pretrained_kwargs | read (`processing`); refused: another checkpoint or basis than the model's |
| prepend_bos, context_size, seqpos_slice, exclude_special_tokens | recorded (`training`) |
| dtype, device | not read: everything is float32, on the device asked for |
| metadata, sae_lens_version | read; refused: one without the other, as SAELens would drop the hook's name |
| all others | not read, as they say nothing about inference; unknown ones are logged |

Two values of one key are refused, whichever their places; `sae_keys` knows the other names of a key and puts
each in its place. Errors begin with the file, and are FsrlError.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from fsrl import arguments, files, hooks
from fsrl.errors import FsrlError, did_you_mean
from fsrl.models import sae_keys

logger = logging.getLogger(__name__)

# The activation functions that each architecture of SAELens 6 computes, as older files name them.
ACTIVATIONS = {"topk": ("topk",), "abstopk": ("abstopk",), "jumprelu": ("relu", "jumprelu")}
TRAINING = ("prepend_bos", "context_size", "seqpos_slice", "exclude_special_tokens")
# Classes that SAELens loads a transformer with.
MODEL_CLASSES = ("HookedTransformer", "HookedSAETransformer", "TransformerBridge", "AutoModelForCausalLM")
# Arguments of the model's loader under which the same name is another model.
OTHER_MODEL = (
    *(
        "checkpoint_index",
        "checkpoint_value",
        "first_n_layers",
        "hf_model",
        "revision",
        "subfolder",
        "config",
    ),
    *("adapter", "adapters", "lora", "peft_config", "rope_scaling", "rope_theta", "rope_parameters"),
    *("load_in_4bit", "load_in_8bit", "quantization_config"),
)
SECRET = ("token", "use_auth_token", "api_key")
# Arguments that change no direction of the residual stream, or are checked here.
SAME_MODEL = (
    *("center_writing_weights", "center_unembed", "fold_ln", "fold_value_biases"),
    *("refactor_factored_attn_matrices", "default_prepend_bos", "default_padding_side", "tokenizer"),
    *("device", "n_devices", "move_to_device", "device_map", "dtype", "torch_dtype", "attn_implementation"),
    *("cache_dir", "local_files_only", "low_cpu_mem_usage", "trust_remote_code", "use_safetensors", *SECRET),
)
SWITCHES = (
    "apply_b_dec_to_input",
    "rescale_acts_by_decoder_norm",
    "finetuning_scaling_factor",
    "tied_weights",
    "stop_on_duplicate_support",
)
# Of matching pursuit and temporal SAEs.
NUMBERS = ("residual_threshold", "activation_normalization_factor")
WHOLE_NUMBERS = ("max_iterations", "kval_topk", "n_heads", "n_attn_layers", "bottleneck_factor")


def check_json(path: Path, where: str, remedy: str) -> None:
    """Raise FsrlError, beginning with `where`, unless the file is JSON and holds an object."""
    try:
        text = path.read_bytes().decode("utf-8")
        if text.startswith("\ufeff"):
            raise FsrlError(f"{where}: begins with a byte order mark; save it as UTF-8 without one")
        found = json.loads(text, object_pairs_hook=_once)
    except FsrlError as error:
        raise error if str(error).startswith(where) else FsrlError(f"{where}: {error}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FsrlError(f"{where}: cannot be read as JSON ({error}); {remedy}") from None
    if not isinstance(found, dict):
        raise FsrlError(f"{where}: holds {arguments.shown(found)}, expected an object of settings; {remedy}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if (twice := files.written_twice(pairs)) is not None:
        raise FsrlError(f"{twice} is given twice; keep one")
    return dict(pairs)


class Checker:
    """The checks of one configuration, as a file or a loader of SAELens gives it, before SAELens fills in
    defaults; where: how errors name the file. config: the same with each key in its place (`sae_keys`).
    """

    def __init__(self, given: Mapping[str, Any], where: str) -> None:
        self.where, self.config = where, sae_keys.in_place(given, where)
        self.has_metadata = bool(given.get("metadata"))
        self.written = sae_keys.written(given)
        self.metadata = self.config.get("metadata", {})
        self.old = sae_keys.is_old(self.value("sae_lens_version"))

    def refuse(self, what: str, remedy: str) -> FsrlError:
        """The error that says what is wrong with the file."""
        return FsrlError(f"{self.where}: {what}; {remedy}")

    def value(self, name: str) -> Any:
        """The value of a key, wherever its place is; None where it is not there."""
        found = self.config.get(name)
        return self.metadata.get(name) if found is None else found

    def shown(self, name: str) -> str:
        """The key and its value, and what the file calls it, where it has another name."""
        other = self.written.get(name, name)
        return f"{name} is {arguments.shown(self.value(name))}{f' ({other})' if other != name else ''}"

    def check(self) -> dict[str, Any]:
        """Everything that the file alone can tell; gives the configuration to be read. Raises FsrlError."""
        self._architecture()
        for name in ("d_in", "d_sae"):
            if not arguments.is_whole(self.value(name), 1):
                raise self.refuse(f"{name} is {self.value(name)!r}", "give a whole number above 0")
        for name in SWITCHES:
            if not isinstance(self.value(name), bool | None):
                raise self.refuse(f"{name} is {self.value(name)!r}", "give true or false")
        for name in NUMBERS:
            if (number := self.value(name)) is not None and not arguments.is_number(number):
                raise self.refuse(f"{name} is {number!r}", "give a number")
        for name in WHOLE_NUMBERS:
            if (number := self.value(name)) is not None and not arguments.is_whole(number, 1):
                raise self.refuse(f"{name} is {number!r}", "give a whole number above 0")
        self._nulls()
        self._activation()
        self._hook()
        self._reshaping()
        self._model()
        self._unknown()
        return self.config

    def _architecture(self) -> None:
        from sae_lens.registry import SAE_CLASS_REGISTRY, SAE_TRAINING_CLASS_REGISTRY

        for name in ("architecture", "hook_name", "hook_name_out", "model_name"):
            if not isinstance(self.value(name), str | None):
                raise self.refuse(f"{name} is {self.value(name)!r}", "give a name")
        if self.old == self.has_metadata:
            raise self.refuse(
                "metadata and sae_lens_version 6 come together, and one of them is missing",
                "SAELens would drop the hook's name: save the SAE with sae.save_model",
            )
        name = self.value("architecture")
        if name is None and not self.old:
            raise self.refuse("no architecture", f"give one of {', '.join(SAE_CLASS_REGISTRY)}")
        if name is not None and name not in SAE_CLASS_REGISTRY:
            if name in SAE_TRAINING_CLASS_REGISTRY:
                what, how = "trains, and does not run", "save the SAE with save_inference_model"
            else:
                what = f"does not know{did_you_mean(name, SAE_CLASS_REGISTRY)}"
                how = f"give one of {', '.join(SAE_CLASS_REGISTRY)}"
            raise self.refuse(f"architecture is {name!r}, which SAELens {what}", how)
        self._transcoder(name or "standard")

    def _transcoder(self, architecture: str) -> None:
        """What says where it writes: a transcoder must, and an SAE writes what it reads."""
        inside, outside = self.value("hook_name"), self.value("hook_name_out")
        if "transcoder" in architecture:
            self._writing(architecture, outside)
            return
        remedy = "give an SAE, which reconstructs what it reads, or a transcoder under its own architecture"
        if outside not in (None, inside):
            raise self.refuse(f"a {architecture} that reads {inside} and writes {outside}", remedy)
        layer = self.value("hook_layer")
        pairs = {
            "d_out": self.value("d_in"),
            "hook_layer_out": hooks.in_block(inside or "") if layer is None else layer,
            "hf_hook_name_out": self.value("hf_hook_name"),
            "is_transcoder": False,
        }
        for name, same in pairs.items():
            if (value := self.value(name)) is not None and value != same:
                raise self.refuse(f"{self.shown(name)}, which is of a transcoder", remedy)
        if "transcoder" in str(self.value("training_architecture")):
            raise self.refuse("trained as a transcoder (training_architecture)", remedy)

    def _writing(self, architecture: str, outside: str | None) -> None:
        if outside is None:
            raise self.refuse(
                f"a {architecture} that does not say where it writes", "give its hook as hook_name_out"
            )
        if not arguments.is_whole(self.value("d_out"), 1):
            raise self.refuse(f"d_out is {self.value('d_out')!r}", "give a whole number above 0")
        layer = self.value("hook_layer_out")
        if layer is not None and layer != hooks.in_block(outside):
            raise self.refuse(
                f"{self.shown('hook_layer_out')} and hook_name_out {outside!r}", "keep the right one"
            )
        if (kind := self.value("normalize_activations")) not in (None, "none", False):
            raise self.refuse(
                f"a {architecture} with normalize_activations {kind!r}, which scales what it reads and not "
                "what it writes",
                "only transcoders of activations as they are can be read",
            )

    def _nulls(self) -> None:
        """SAELens 6 would run with them, and fail or not."""
        from sae_lens.registry import SAE_CLASS_REGISTRY

        kind = SAE_CLASS_REGISTRY[self.value("architecture") or "standard"][1]
        for field in fields(kind):
            if field.default is not None and self.config.get(field.name, field) is None:
                raise self.refuse(f"{field.name} is null", "give its value, or leave it out")

    def _activation(self) -> None:
        architecture = self.value("architecture") or "standard"
        function = self.value("activation_fn")
        settings = self.value("activation_fn_kwargs") or {}
        if not isinstance(settings, dict):
            raise self.refuse(f"activation_fn_kwargs is {settings!r}", "give an object of settings")
        # Before version 6 a topk SAE was a standard one with another activation.
        top = function == "topk" and architecture in ("standard", "topk") and self.old
        known = ACTIVATIONS.get("topk" if top else architecture, ("relu",))
        if function is not None and str(function).lower() not in known:
            raise self.refuse(
                f"{self.shown('activation_fn')}, and SAELens runs a {architecture} SAE with {known[0]}",
                "only SAEs that SAELens runs as they were trained can be read",
            )
        other = [name for name in settings if not (top and name in ("k", "signed"))]
        if other or settings.get("signed"):
            raise self.refuse(
                f"activation_fn_kwargs is {settings!r}, of which SAELens reads only a topk SAE's k",
                "only SAEs that SAELens runs as they were trained can be read",
            )
        if architecture != "jumprelu" and self.value("jump_relu_threshold") is not None:
            raise self.refuse(
                f"jump_relu_threshold is given, of which a {architecture} SAE has none",
                "set its architecture",
            )
        if top or architecture in ("topk", "abstopk"):
            k = settings.get("k", self.value("k")) if top else self.value("k")
            if not arguments.is_whole(k, 1) or k > self.value("d_sae"):
                raise self.refuse(
                    f"k is {k!r} and d_sae {self.value('d_sae')}", "give how many features are kept"
                )

    def _hook(self) -> None:
        hook = self.value("hook_name")
        layer = self.value("hook_layer")
        named = hooks.in_block(hook or "")
        if None not in (layer, named) and layer != named:
            raise self.refuse(f"hook_layer is {layer!r} and hook_name {hook!r}", "keep the one that is right")
        for name in ("hook_head_index", "hook_head_index_out"):
            if (head := self.value(name)) is not None:
                raise self.refuse(
                    f"{name} is {head!r}, the SAE of a single head",
                    "only SAEs of all heads together, or of another hook, can be read",
                )

    def _reshaping(self) -> None:
        hook, shape = self.value("hook_name"), self.value("reshape_activations")
        if shape not in (None, "none", "hook_z"):
            raise self.refuse(f"reshape_activations is {shape!r}", "SAELens knows none and hook_z")
        if shape == "hook_z" and hooks.point_of(hook or "hook_z") != "hook_z":
            raise self.refuse(f"reshape_activations is hook_z, and hook_name {hook!r}", "set it to none")

    def _model(self) -> None:
        given = self.value("model_from_pretrained_kwargs")
        if not isinstance(given, dict | None):
            raise self.refuse(f"model_from_pretrained_kwargs is {given!r}", "give an object of settings")
        given = given or {}
        for name in ("center_writing_weights", "fold_value_biases", "refactor_factored_attn_matrices"):
            if not isinstance(given.get(name, False), bool):
                raise self.refuse(f"{name} is {given[name]!r}", "give true or false")
        named = self.value("model_class_name")
        if named not in (None, *MODEL_CLASSES):
            raise self.refuse(
                f"model_class_name is {arguments.shown(named)}, whose activations are not a transformer's",
                f"only SAEs of {MODEL_CLASSES[0]} can be read",
            )
        # 0 is a checkpoint.
        if other := [
            name for name in OTHER_MODEL if given.get(name) is not None and given[name] is not False
        ]:
            raise self.refuse(
                f"trained on the model with {other[0]}={given[other[0]]!r}, another one than its name says",
                "give an SAE of the model itself",
            )
        in_attention = ".attn." in str(self.value("hook_name"))
        if given.get("refactor_factored_attn_matrices") and in_attention:
            raise self.refuse(
                "trained on heads in another basis (refactor_factored_attn_matrices)",
                "give an SAE of the model as it is",
            )

    def _unknown(self) -> None:
        unknown = sorted({*self.config, *self.metadata} - sae_keys.known() - {"metadata"})
        loading = self.value("model_from_pretrained_kwargs") or {}
        unknown += sorted(
            f"{name} of model_from_pretrained_kwargs" for name in set(loading) - {*SAME_MODEL, *OTHER_MODEL}
        )
        if unknown:
            logger.warning("%s: SAELens and fsrl do not know, and ignore: %s", self.where, ", ".join(unknown))


def processing(metadata: Any) -> dict[str, bool]:
    """How the model that an SAE was trained on was processed: center_writing_weights, fold_value_biases.

    metadata: of the SAE's cfg. SAELens loads a model without processing but what model_from_pretrained_kwargs
    asks for; where there are none, the SAE comes from elsewhere, and TransformerLens' defaults are taken.
    """
    given = metadata.model_from_pretrained_kwargs
    return {
        name: given is None or bool(given.get(name, False))
        for name in ("center_writing_weights", "fold_value_biases")
    }


def training(metadata: Any) -> str:
    """How it was trained, as JSON, for the record: of TRAINING what the configuration says."""
    said = {name: metadata.get(name) for name in TRAINING}
    loading = metadata.get("model_from_pretrained_kwargs")
    # No key of the hub's goes into a file.
    said["model_from_pretrained_kwargs"] = loading and {
        name: value for name, value in loading.items() if name not in SECRET
    }
    return json.dumps({name: value for name, value in said.items() if value is not None}, sort_keys=True)
