"""Weights of a model, all of them from its files: whatever the library would make up or pass over is refused.

transformers gives a parameter that no file holds new random numbers, passes over tensors that have no place,
and says both in a log only. Here either is an error that names them, as are another shape, numbers that are
not finite, whole numbers (quantised weights) and two tensors for one place. Prefixes of compiled, distributed
and wrapped models (`_orig_mod.`, `module.`, `base_model.model.`) are not stripped: such a file is refused
with the call that saves the model inside. A head that is tied to the embedding needs no tensor. Buffers that
older versions stored and the model makes itself (attention masks, rotary frequencies) need no place.

A model may be booted in part, with its first blocks and its first tokens alone (`fsrl.models.part`).
"""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.models import head, part, sources, stored, tokenizer
from fsrl.models.hub_files import clear_errors, shown
from fsrl.models.stored import StoredTensor
from fsrl.weights.matrices import check_finite

# Frequencies of rotary models, and where a model of this type had its causal masks.
FREQUENCIES = r"(^|\.)rotary_emb\.inv_freq$"
MASKS = {
    "gpt2": r"(^|\.)h\.\d+\.attn\.(bias|masked_bias)$",
    "gptj": r"(^|\.)h\.\d+\.attn\.(bias|masked_bias)$",
    "gpt_neo": r"(^|\.)h\.\d+\.attn\.attention\.(bias|masked_bias)$",
    "gpt_neox": r"(^|\.)layers\.\d+\.attention\.(bias|masked_bias)$",
}
# What a tensor's name betrays of how the model was wrapped when it was saved.
ADAPTER = re.compile(r"lora_|base_layer\.|^base_model\.model\.")
WRAPPED = re.compile(r"^((module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.)+")
# Whose logits through TransformerLens need no look each time: the tests compare them.
TESTED = ("gpt2",)
SMALL = ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
UNKNOWN = "give a model that transformers and TransformerLens know"
UNLIKE = "config.json and the weights must come from one save_pretrained"
SHOWN = 2  # names that an error lists
# What stands in for a part of another module does so in one thread at a time.
_BOOTING = threading.Lock()


def boot(folder: Path, device: str | None = None, *, blocks: int | None = None) -> Any:
    """A TransformerBridge of a model's folder, unprocessed, float32, with every weight from its files.

    device: TransformerLens' choice where it is None; blocks: how many of the first are read, with the first
    tokens of the vocabulary (`part.ROWS`), None for the whole model. Raises FsrlError, naming the file, for
    what cannot be read, for weights that do not fit the config, and where TransformerLens computes other
    logits than transformers (a look at a few tokens, which GPT-2 needs not).
    """
    _check_config(folder / "config.json")
    _check_small(folder)
    source: Any = _Source(folder, blocks)
    # As TransformerLens would read it, but as the file has it, whatever class is named beside it.
    own = tokenizer.read(folder, add_bos_token=True)
    from transformer_lens.model_bridge import TransformerBridge

    try:
        with _installing_nothing():
            bridge = TransformerBridge.boot_transformers(
                str(folder), device=device, dtype=torch.float32, model_class=source, tokenizer=own
            )
    except FsrlError:
        raise
    except Exception as error:
        # The other files were looked at before: what else goes wrong is what the config asks for.
        raise FsrlError(
            f"{shown(folder / sources.CONFIG)}: cannot be read ({_reason(error)}); {UNKNOWN}"
        ) from error
    if blocks is not None:
        bridge.cfg.n_layers = len(bridge.blocks)
        bridge.cfg.d_vocab = bridge.cfg.d_vocab_out = bridge.W_U.shape[1]
    _check_bridge(bridge, source, folder)
    return bridge


def text_config(folder: Path) -> Any:
    """What a model's config.json, which `boot` has read, says of its text."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder).get_text_config()


def pretrained(model_class: Any, folder: Path, *, blocks: int | None = None, **kwargs: Any) -> Any:
    """model_class.from_pretrained(folder, **kwargs) with every weight from its files, or FsrlError.

    blocks: how many are read, with the first tokens alone: the config, which kwargs have, is `part.cut`.
    """
    files = sources.weight_files(folder)
    config: Any = kwargs.get("config")
    held = [tensor for path in files for tensor in _tensors(path) if not part.is_beyond(tensor.name, blocks)]
    _check_tied(model_class, config, held, files)
    place: str | None = str(folder)
    if blocks is not None:
        d_vocab = config.get_text_config().vocab_size
        part.cut(config, blocks)
        place, model_class = None, _own_class(model_class, config)
        kwargs["state_dict"] = part.tensors(model_class, config, d_vocab, files)
    with _quiet():
        model, report = model_class.from_pretrained(
            place, output_loading_info=True, ignore_mismatched_sizes=True, use_safetensors=True, **kwargs
        )
    _check_report(report, model, files, blocks)
    _check_stored(model, held, files)
    for name, tensor in model.state_dict().items():
        # What is not finite stays so in a sum, which takes a fraction of the time.
        if tensor.is_floating_point() and not torch.isfinite(tensor.sum()):
            check_finite(f"{_named(files)}: {name}", tensor)
    return model


def _own_class(model_class: Any, config: Any) -> Any:
    """The class that an Auto class takes for a config."""
    mapped = hasattr(model_class, "_model_mapping")  # AutoModelForCausalLM
    return model_class._model_mapping[type(config)] if mapped else model_class


class _Source:
    """Stands for the model class that TransformerLens loads with, so that what loading reports is seen."""

    def __init__(self, folder: Path, blocks: int | None) -> None:
        self.folder, self.blocks = folder, blocks
        self.probe: tuple[Tensor, Tensor] | None = None

    def from_pretrained(self, name: str, *, config: Any, **kwargs: Any) -> Any:
        """The model, checked; a few tokens and its logits of them are kept."""
        from transformer_lens.model_bridge.sources import transformers as bridges

        architecture = bridges.determine_architecture_from_hf_config(config)
        model_class = bridges.get_hf_model_class_for_architecture(architecture)
        model = pretrained(model_class, self.folder, blocks=self.blocks, config=config, **kwargs)
        if config.model_type not in TESTED:
            given = config.get_text_config()
            tokens = head.probe_tokens(given.vocab_size, getattr(given, "max_position_embeddings", None))
            with torch.no_grad():
                self.probe = tokens, model(tokens).logits
        return model


def _check_config(path: Path) -> None:
    config = sources.read_json(path)
    if (path.parent / "adapter_config.json").is_file():
        raise FsrlError(
            f"{path.parent} holds an adapter (adapter_config.json) beside a model; merge it, "
            "model.merge_and_unload().save_pretrained(another folder)"
        )
    if config.get("quantization_config") is not None:
        raise FsrlError(f"{shown(path)}: the weights are quantised; give the model as it is before that")
    if config.get("is_encoder_decoder"):
        raise FsrlError(f"{shown(path)}: an encoder-decoder; give a causal language model")


def _check_small(folder: Path) -> None:
    """The small files beside the config, on which transformers stumbles while it reads others."""
    for name in SMALL:
        if (folder / name).is_file():
            sources.read_json(folder / name)
    if sources.weight_files(folder)[0].name != sources.WEIGHTS:
        index = folder / sources.INDEX
        if not isinstance(sources.read_json(index).get("metadata"), dict):
            raise FsrlError(f"{shown(index)}: has no object metadata; save the model again")


def _check_bridge(bridge: Any, source: _Source, folder: Path) -> None:
    if source.probe is None:
        return
    tokens, expected = source.probe
    with torch.no_grad():
        logits = bridge(tokens.to(bridge.W_U.device)).cpu()
    if not head.same_logits(logits, expected):
        raise FsrlError(
            f"{shown(folder)}: TransformerLens computes other logits than transformers, off by up to "
            f"{float((logits - expected).abs().max()):.1e}; {bridge.cfg.architecture} cannot be studied "
            "through it"
        )


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"unknown: {error}"
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def _installing_nothing() -> Iterator[None]:
    """Within, no processor of images is made, which a text needs not: where TransformerLens cannot make one
    it runs `pip install torchvision`, and changes the environment under whoever works in it.

    Should an installer be started all the same, it is refused before it begins: FsrlError at the end, even
    if the library swallows that.
    """
    import subprocess

    import transformers

    refused = []

    class NoProcessor:
        @staticmethod
        def from_pretrained(*_: Any, **__: Any) -> None:
            """None: the bridge has no processor."""

    class NoInstaller(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, args: Any, *others: Any, **named: Any) -> None:
            words = args.split() if isinstance(args, str) else [str(word) for word in args]
            if "install" in words:
                refused.append(" ".join(words))
                raise FsrlError(f"refused to run {refused[-1]!r}")
            super().__init__(args, *others, **named)

    with _BOOTING:
        own = transformers.AutoProcessor, subprocess.Popen
        transformers.AutoProcessor, subprocess.Popen = NoProcessor, NoInstaller  # type: ignore[misc,assignment]
        try:
            yield
        finally:
            transformers.AutoProcessor, subprocess.Popen = own  # type: ignore[misc]
    if refused:
        raise FsrlError(
            f"TransformerLens would have run {refused[0]!r} to read this model; fsrl installs nothing: give "
            "a model of texts alone, or install by hand what it lacks"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own table of what is missing (it becomes one line here), and without its bars,
    which count parameters put in their places: seconds at most, and lines between those of a build.
    """
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    bars = logging.set_tqdm_hook(lambda bar, args, settings: bar(*args, **{**settings, "disable": True}))
    try:
        yield
    finally:
        logging.set_tqdm_hook(bars)
        logging.set_verbosity(verbosity)


def _check_report(report: Mapping[str, Any], model: Any, files: Sequence[Path], blocks: int | None) -> None:
    missing = sorted(report["missing_keys"])
    unknown = [name for name in report["unexpected_keys"] if not part.is_beyond(name, blocks)]
    unexpected = sorted(name for name in unknown if not _is_buffer(model, name))
    reshaped = sorted(
        f"{name} is {list(found)} (the config wants {list(wanted)})"
        for name, found, wanted in report["mismatched_keys"]
    )
    # A tensor that did not fit counts as missing too.
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    said = "; ".join(f"{what}: {stored.listed(names, most=SHOWN)}" for what, names in faults.items() if names)
    if said:
        raise FsrlError(
            f"{_named(files)}: not the weights of this {type(model).__name__}; {said}; {_remedy(unexpected)}"
        )


def _remedy(unexpected: Sequence[str]) -> str:
    if any(ADAPTER.search(name) for name in unexpected):
        return (
            "an adapter (LoRA) was saved with it: merge it, model.merge_and_unload().save_pretrained(folder)"
        )
    wrapped = next((found[0] for name in unexpected if (found := WRAPPED.match(name))), None)
    if wrapped:
        return (
            "a compiled or distributed model was saved: save the one inside, "
            f"model.{wrapped}save_pretrained(folder)"
        )
    if any("_orig_mod." in name for name in unexpected):
        return "a part of the model was compiled: save it as it was before torch.compile"
    return UNLIKE


def _is_buffer(model: Any, name: str) -> bool:
    """Whether older versions stored this, which the model makes itself."""
    masks = MASKS.get(model.config.model_type)
    return bool(re.search(FREQUENCIES, name) or (masks and re.search(masks, name)))


def _check_tied(model_class: Any, config: Any, held: Sequence[StoredTensor], files: Sequence[Path]) -> None:
    """A head that is stored though it is tied must have the embedding's shape: transformers breaks on it."""
    if config is None or not config.get_text_config().tie_word_embeddings:
        return
    model_class = _own_class(model_class, config)
    tied, prefix = model_class._tied_weights_keys, model_class.base_model_prefix
    if not isinstance(tied, dict):
        return
    shapes = {_place(tensor.name, prefix): (tensor.name, tensor.shape) for tensor in held}
    for head_name, embedding in tied.items():
        found, wanted = (shapes.get(_place(name, prefix)) for name in (head_name, embedding))
        if found and wanted and found[1] != wanted[1]:
            raise FsrlError(
                f"{_named(files)}: {found[0]} is {found[1]} and {wanted[0]}, to which the config ties it, "
                f"{wanted[1]}; {UNLIKE}"
            )


def _check_stored(model: Any, held: Sequence[StoredTensor], files: Sequence[Path]) -> None:
    """Two tensors for one place, of which one would be passed over; what is not real numbers."""
    wanted, places = model.state_dict(), dict[str, str]()
    for tensor in held:
        name = tensor.name
        place = _place(name, model.base_model_prefix)
        if _is_buffer(model, name):
            continue
        if place in places:
            raise FsrlError(f"{_named(files)}: {places[place]} and {name} are for one place; {UNLIKE}")
        places[place] = name
        weight = next(
            (wanted[key] for key in (name, f"{model.base_model_prefix}.{place}") if key in wanted), None
        )
        if weight is not None and weight.is_floating_point() and not tensor.is_real:
            kind = "complex" if tensor.dtype.startswith("C") else "whole"
            raise FsrlError(
                f"{_named(files)}: {name} holds {kind} numbers ({tensor.dtype}); save the weights as real "
                "numbers, as they are before they are quantised"
            )


def _place(name: str, prefix: str) -> str:
    """A tensor's name without the model's prefix, which transformers takes as given where it is left out."""
    while prefix and name.startswith(f"{prefix}."):
        name = name.removeprefix(f"{prefix}.")
    return name


def _tensors(path: Path) -> list[StoredTensor]:
    """What a safetensors file holds; FsrlError, which names it, where it cannot be read."""
    with clear_errors(path):
        return stored.tensors(path)


def _named(files: Sequence[Path]) -> str:
    """How messages name the weights: their file, or the index of their shards."""
    return shown(files[0] if files[0].name == sources.WEIGHTS else files[0].parent / sources.INDEX)
