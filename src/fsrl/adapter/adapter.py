"""A frozen SAE with a trainable adapter that steers its features, as one torch module.

For a residual activation x with features f = encode(x), the adapter makes a steering vector s(x) over the
features (`fsrl.adapter.layers`), fuses the two to f', and gives back

    x + decode(f') - decode(f)        with the reconstruction error x - decode(f) added back (the default)
    decode(f')                        without

so that with the error term an adapter that does nothing (f' = f, as every fresh one) changes nothing: the
output is x, and so are its gradients. The error is that of the untouched features: what steering changes is
never taken for an error and taken back.
"""

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from fsrl import arguments
from fsrl.adapter import files as adapter_files
from fsrl.adapter.files import SAEIdentity
from fsrl.adapter.layers import AdapterSettings, fuse, make_layer
from fsrl.errors import FsrlError
from fsrl.models.narrow import unfilled
from fsrl.models.saes import is_folder, load_sae

HOOKS = ("hook_input", "hook_features", "hook_steering_vector", "hook_fusion", "hook_output")
# What SAELens' encode puts on an SAE that normalises its input, by layer_norm or constant_norm_rescale; the
# decode that follows uses and deletes it.
SCALE = ("ln_mu", "ln_std", "x_norm_coeff")
Scale = dict[str, Tensor]


class SAEAdapter(nn.Module):
    """A SAELens SAE of any architecture that reads and writes one place, with an adapter over its features.

    The SAE is taken over: frozen, kept in eval mode, its reshaping of hook_z left to the adapter. Settings
    are those of `AdapterSettings`; release and sae_id say where the SAE came from, if known. Hook points, in
    the order in which they run: hook_input [..., d_in], hook_features, hook_steering_vector and hook_fusion
    [..., d_sae], hook_output [..., d_in] (for hook_z [..., n_heads, d_head], as the model gives it); a
    backward hook gets its gradient at each, whatever comes in. Copies and pickles have the weights and
    settings, and no hooks. Raises FsrlError for a wrong setting and for an SAE that reads one place and
    writes another.
    """

    # HookPoints, whose class costs seconds to import.
    hook_input: Any
    hook_features: Any
    hook_steering_vector: Any
    hook_fusion: Any
    hook_output: Any

    def __init__(
        self, sae: Any, *, release: str | None = None, sae_id: str | None = None, **adapter_kwargs: Any
    ) -> None:
        super().__init__()
        settings = AdapterSettings.from_kwargs(adapter_kwargs)
        _check_kind(sae)
        self.identity = SAEIdentity.of(sae, release, sae_id)
        # Where to read more of the SAE: of a folder the whole path, which outlives a change of the working
        # directory and is no release's name. It is not saved: files name no place of this machine.
        self.place: str | Path | None = release
        self.log10_density: Tensor | None = None  # as `from_pretrained` read it
        self._build(sae, settings)

    def _build(self, sae: Any, settings: AdapterSettings) -> None:
        from transformer_lens.hook_points import HookPoint

        self.sae = sae.eval().requires_grad_(False)
        if sae.cfg.reshape_activations == "hook_z":
            # SAELens' reshaping expects [..., n_heads, d_head]; a TransformerBridge may give either form.
            sae.turn_off_forward_pass_hook_z_reshaping()
        self._alone = threading.RLock()  # for what SAELens keeps on the SAE between encode and decode
        for name in HOOKS:
            setattr(self, name, HookPoint())
            getattr(self, name).register_forward_pre_hook(give_gradient)
        self.settings, self.layer = settings, self._make_layer(settings)

    def __reduce__(self) -> tuple[Any, ...]:
        """What pickle and copy make the adapter anew of: SAELens' SAEs hold functions that neither takes."""
        kept = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        kept["place"] = None if isinstance(self.place, Path) else self.place
        frozen = [name for name, parameter in self.layer.named_parameters() if not parameter.requires_grad]
        return _made_anew, (type(self), type(self.sae), self.cfg, kept, self.state_dict(), frozen)

    def __deepcopy__(self, memo: dict[int, Any]) -> "SAEAdapter":
        make, given = self.__reduce__()
        memo[id(self)] = made = make(*copy.deepcopy(given, memo))
        made.place = self.place
        return made

    @classmethod
    def from_pretrained(
        cls,
        release: str | Path,
        sae_id: str,
        device: str | torch.device = "cpu",
        force_download: bool = False,
        **adapter_kwargs: Any,
    ) -> tuple["SAEAdapter", dict[str, Any], Float32[Tensor, "d_sae"] | None]:
        """(adapter, the SAE's configuration, log10 densities or None) of a hub release or a folder.

        release: a release that SAELens lists ("gpt2-small-res-jb"), a repository of the hub, or a folder that
        holds one folder for each SAE; sae_id: the SAE's name there. Raises FsrlError for a wrong setting
        (before anything is fetched), an unknown release or SAE, a broken file, and a hub that cannot be
        reached.
        """
        AdapterSettings.from_kwargs(adapter_kwargs)
        sae, config, sparsity = load_sae(release, sae_id, device=device, force_download=force_download)
        adapter = cls(sae, release=str(release), sae_id=sae_id, **adapter_kwargs)
        adapter.log10_density = sparsity
        if is_folder(release):
            adapter.place = Path(release).absolute()
        return adapter, config, sparsity

    @property
    def cfg(self) -> Any:
        """The SAE's configuration; cfg.metadata holds hook_name, model_name and neuronpedia_id."""
        return self.sae.cfg

    @property
    def device(self) -> torch.device:
        """Where SAE and adapter are."""
        return self.sae.W_dec.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the SAE computes in."""
        return self.sae.W_dec.dtype

    def encode(self, x: Tensor) -> Float[Tensor, "*any d_sae"]:
        """The SAE's features of an activation [..., d_in] (or heads), without the adapter."""
        return self.sae.encode(self._flat(x))

    def decode(self, features: Tensor) -> Float[Tensor, "*any d_in"]:
        """The SAE's reconstruction from features [..., d_sae], without the adapter.

        Of an SAE that normalises its input it is in units of the last `encode`, as SAELens has it. Raises
        FsrlError for what is no tensor of that width.
        """
        d_sae, wanted = self.sae.cfg.d_sae, f"give a tensor [..., {self.sae.cfg.d_sae}]"
        fits = isinstance(features, Tensor) and features.dim() > 0 and features.shape[-1] == d_sae
        arguments.require(fits, f"adapter of {self.identity}", "features", features, wanted)
        return self.sae.decode(features)

    @property
    def W_dec(self) -> Float[Tensor, "d_sae d_in"]:
        """The SAE's decoder."""
        return self.sae.W_dec

    @property
    def W_enc(self) -> Float[Tensor, "d_in d_sae"]:
        """The SAE's encoder."""
        return self.sae.W_enc

    @property
    def b_dec(self) -> Float[Tensor, "d_in"]:
        """The SAE's decoder bias."""
        return self.sae.b_dec

    def forward(self, x: Tensor) -> Tensor:
        """The activation after steering, as x is: [..., d_in] or [..., n_heads, d_head], in its dtype.

        Raises FsrlError for an activation of another width.
        """
        flat = self._flat(self.hook_input(x))
        features, scale = self._encode(flat)
        baseline = self._decode(features, scale) if self.settings.use_error_term else None
        # A view of its own, so that the gradient at hook_features is that of the steered branch alone.
        features = self.hook_features(features.view_as(features))
        steering = self.hook_steering_vector(self.get_steering_vector(flat))
        fused = fuse(features, steering.to(features.dtype), self.settings.fusion_mode)
        decoded = self._decode(self.hook_fusion(fused), scale)
        steered = decoded if baseline is None else flat + (decoded - baseline).to(flat.dtype)
        return self.hook_output(steered.to(x.dtype).reshape(x.shape))

    def get_steering_vector(self, x: Tensor) -> Float[Tensor, "*any d_sae"]:
        """s for an activation x [..., d_in], in the adapter's dtype."""
        return self.layer(self._flat(x).to(next(self.layer.parameters()).dtype))

    def get_trainable_parameters(self) -> list[nn.Parameter]:
        """The adapter's parameters, for an optimiser: all that is ever trained."""
        return list(self.layer.parameters())

    def save_adapter(self, folder: str | Path) -> None:
        """Write the adapter (not the SAE) as adapter.safetensors and adapter.json, whole or not at all."""
        adapter_files.save(folder, self.settings, self.identity, dict(self.layer.state_dict()))

    def load_from_pretrained_adapter(self, folder: str | Path) -> "SAEAdapter":
        """Become the adapter that `save_adapter` wrote, bit for bit and with its settings; returns self.

        The tensors keep the dtype they were saved in and go to the SAE's device; parameters are new objects,
        so make the optimiser afterwards. Raises FsrlError, and changes nothing, for missing or broken files
        and for an adapter of another SAE.
        """
        settings, tensors = adapter_files.load(folder, self.identity)
        layer = self._make_layer(settings)
        expected = {name: tensor.shape for name, tensor in layer.state_dict().items()}
        if expected != {name: tensor.shape for name, tensor in tensors.items()}:
            raise FsrlError(f"{folder}: the tensors are not those of these settings; save the adapter again")
        device = self.W_dec.device
        layer.load_state_dict({name: tensor.to(device) for name, tensor in tensors.items()}, assign=True)
        self.settings, self.layer = settings, layer.requires_grad_(True).train(self.training)
        return self

    def train(self, mode: bool = True) -> "SAEAdapter":
        """As any module's; the SAE stays in eval mode."""
        super().train(mode)
        self.sae.eval()
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SAEAdapter":
        # Every move (to, cuda, half, ...) comes through here. SAELens casts inputs to sae.dtype, which only
        # its own `to` keeps up to date.
        super()._apply(fn, recurse)
        weight = self.sae.W_dec
        self.sae.to(device=weight.device, dtype=weight.dtype)
        return self

    def __repr__(self) -> str:
        """The SAE and the settings on one line."""
        return f"<SAEAdapter of {self.identity} on {self.device}: {self.settings}>"

    def _make_layer(self, settings: AdapterSettings) -> nn.Module:
        weight, cfg = self.sae.W_dec, self.sae.cfg
        return make_layer(settings, cfg.d_in, cfg.d_sae, device=weight.device, dtype=weight.dtype)

    # A hook between the two, or another thread, may run the same SAE on something else: its scale is taken
    # off at once and put back for each decode.
    def _encode(self, x: Float[Tensor, "*any d_in"]) -> tuple[Float[Tensor, "*any d_sae"], Scale]:
        """Features, and the scale of their input."""
        with self._alone:
            features, held = self.sae.encode(x), vars(self.sae)
            return features, {name: held.pop(name) for name in SCALE if name in held}

    def _decode(self, features: Float[Tensor, "*any d_sae"], scale: Scale) -> Float[Tensor, "*any d_in"]:
        with self._alone:
            vars(self.sae).update(scale)
            return self.sae.decode(features)

    def _flat(self, x: Tensor) -> Float[Tensor, "*any d_in"]:
        """x [..., d_in]; heads [..., n_heads, d_head] are joined where together they are d_in wide."""
        d_in = self.sae.cfg.d_in
        arguments.require(isinstance(x, Tensor), "adapter", "x", x, f"give a tensor [..., {d_in}]")
        if x.dim() and x.shape[-1] == d_in:
            return x
        if x.dim() >= 2 and x.shape[-2] * x.shape[-1] == d_in:
            return x.flatten(-2)
        raise FsrlError(
            f"adapter of {self.identity}: the activation has shape {list(x.shape)}, expected [..., {d_in}]; "
            "this SAE belongs to another model or hook"
        )


def _check_kind(sae: Any) -> None:
    """Refuse what is no SAE of one place: the error term and the splice would both be wrong."""
    if isinstance(sae, SAEAdapter):
        raise FsrlError("adapter: the SAE is an SAEAdapter already; give its .sae (adapters are not stacked)")
    if not all(hasattr(sae, name) for name in ("encode", "decode", "cfg", "W_dec")):
        raise FsrlError(f"adapter: {type(sae).__name__} is no SAELens SAE; load one with from_pretrained")
    architecture, metadata = sae.cfg.architecture(), sae.cfg.metadata
    if "transcoder" in architecture or metadata.hook_name_out not in (None, metadata.hook_name):
        raise FsrlError(
            f"adapter: a {architecture} reads {metadata.hook_name} and writes {metadata.hook_name_out}; give "
            "an SAE that reconstructs what it reads"
        )
    if architecture == "temporal":
        raise FsrlError("adapter: a temporal SAE reads other positions too; give an SAE of single positions")


def give_gradient(point: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Let gradients begin at a hook point with backward hooks, if nothing before it has any.

    Everything but the adapter is frozen, and torch calls no backward hook of what has no gradient.
    """
    if not (point.has_hooks("bwd") and torch.is_grad_enabled()):
        return None
    return tuple(
        x.detach().requires_grad_()
        if isinstance(x, Tensor) and x.is_floating_point() and not x.requires_grad
        else x
        for x in inputs
    )


def _made_anew(
    kind: type[SAEAdapter],
    sae_kind: type[Any],
    cfg: Any,
    kept: dict[str, Any],
    tensors: dict[str, Tensor],
    frozen: list[str],
) -> SAEAdapter:
    """The adapter that `SAEAdapter.__reduce__` took apart."""
    adapter = kind.__new__(kind)
    nn.Module.__init__(adapter)
    vars(adapter).update(kept)
    adapter._build(unfilled(sae_kind, copy.deepcopy(cfg)), kept["settings"])
    adapter.load_state_dict(tensors, assign=True)
    for name in frozen:
        adapter.layer.get_parameter(name).requires_grad_(False)
    return adapter.train(kept["training"])
