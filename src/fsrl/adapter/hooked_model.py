"""A language model with an SAE adapter spliced in at the SAE's hook.

The splice is the first thing that happens at the hook: what the model computed goes through the adapter, and
every other hook there, and the cache, see what the model goes on with. It is on the model only while a call
of `HookedModel` runs, so the model itself stays as it was (but for being frozen).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fsrl import arguments
from fsrl.adapter.adapter import HOOKS, SAEAdapter
from fsrl.errors import FsrlError, did_you_mean
from fsrl.models import fit as model_fit

PREFIX = "sae_adapter."

Hooks = Iterable[tuple[str | Callable[[str], bool], Callable[..., Any]]]


class HookedModel(nn.Module):
    """`model` (HookedTransformer or TransformerBridge) with `sae` spliced in at the SAE's hook.

    The model is frozen and put in eval mode: gradients reach the adapter alone. The adapter's hook points are
    named as its attributes, "sae_adapter.hook_features" and so on, beside the model's own names. Raises
    FsrlError where the SAE is of another model, width, device or hook; warns, with the call to make, where it
    wants centred writing weights and the model's are not.
    """

    def __init__(self, model: Any, sae: SAEAdapter) -> None:
        super().__init__()
        if not isinstance(sae, SAEAdapter):
            raise FsrlError(f"HookedModel: {type(sae).__name__} is no SAEAdapter; give SAEAdapter(sae)")
        if not all(hasattr(model, name) for name in ("hook_dict", "cfg", "run_with_hooks")):
            raise FsrlError(
                f"HookedModel: {type(model).__name__} has no hooks; give a HookedTransformer or a "
                "TransformerBridge"
            )
        model_fit.check(model, sae)
        self.model = model.requires_grad_(False).eval()
        self.sae_adapter = sae
        self._spliced, self._disabled = False, 0
        self._change: Float[Tensor, "*any d_in"] | None = None
        model_fit.warn_of_centring(model, sae)

    @property
    def hook_name(self) -> str:
        """Where the adapter sits."""
        return self.sae_adapter.cfg.metadata.hook_name

    @property
    def hook_dict(self) -> dict[str, Any]:
        """Every hook point by name, the adapter's included."""
        return {**self.model.hook_dict, **self._own_hooks()}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's forward pass, all its arguments, with the adapter in place."""
        with self._splice():
            return self.model(*args, **kwargs)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """The model's generate (with a key-value cache unless told otherwise), with the adapter in place."""
        with self._splice():
            return self.model.generate(*args, **kwargs)

    def run_with_cache(self, *args: Any, names_filter: Any = None, **kwargs: Any) -> Any:
        """(output, cache) as the model's run_with_cache; the cache knows the adapter's hook points too."""
        self._check_names([names_filter] if isinstance(names_filter, str) else names_filter)
        with self._splice():
            return self.model.run_with_cache(*args, names_filter=names_filter, **kwargs)

    def run_with_hooks(self, *args: Any, fwd_hooks: Hooks = (), bwd_hooks: Hooks = (), **kwargs: Any) -> Any:
        """As the model's run_with_hooks; names may be the adapter's. A backward pass needs `hooks`."""
        fwd, bwd = self._checked(fwd_hooks), self._checked(bwd_hooks)
        with self._splice():
            return self.model.run_with_hooks(*args, fwd_hooks=fwd, bwd_hooks=bwd, **kwargs)

    @contextmanager
    def hooks(self, fwd_hooks: Hooks = (), bwd_hooks: Hooks = (), **kwargs: Any) -> Iterator["HookedModel"]:
        """Hooks that stay while the block runs, backward passes included; as the model's `hooks`."""
        fwd, bwd = self._checked(fwd_hooks), self._checked(bwd_hooks)
        with self._splice(), self.model.hooks(fwd, bwd, **kwargs):
            yield self

    def reset_hooks(self, *args: Any, **kwargs: Any) -> None:
        """As the model's reset_hooks, the adapter's hook points included."""
        with self._splice():
            self.model.reset_hooks(*args, **kwargs)

    @contextmanager
    def disabled(self) -> Iterator["HookedModel"]:
        """While the block runs the adapter is out and this is the plain model."""
        self._disabled += 1
        try:
            yield self
        finally:
            self._disabled -= 1

    def train(self, mode: bool = True) -> "HookedModel":
        """As any module's; the frozen model stays in eval mode, as the SAE does."""
        super().train(mode)
        self.model.eval()
        return self

    def to(self, *args: Any, **kwargs: Any) -> "HookedModel":
        """Move model and adapter to a device, a dtype, or both; FsrlError for a device that is not here."""
        for given in (*args, kwargs.get("device")):
            if isinstance(given, str | int | torch.device):
                arguments.device(given, "HookedModel")
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        for target in (device, dtype):
            if target is not None:
                self.model.to(target, print_details=False)
                self.sae_adapter.to(target)
        return self

    def cuda(self, device: int | torch.device | None = None) -> "HookedModel":
        """Move model and adapter to a GPU."""
        return self.to(torch.device("cuda", device) if isinstance(device, int) else device or "cuda")

    def cpu(self) -> "HookedModel":
        """Move model and adapter to the CPU."""
        return self.to("cpu")

    @contextmanager
    def _splice(self) -> Iterator[None]:
        """Put the adapter at its hook and its hook points among the model's, once however deep the calls."""
        if self._spliced or self._disabled:
            yield
            return
        steps = self._steps()
        # A HookedTransformer's hook_dict is its registry, a TransformerBridge's is a copy made on demand.
        registries = [self.model._hook_registry if model_fit.is_bridge(self.model) else self.model.hook_dict]
        registries += [] if model_fit.is_bridge(self.model) else [self.model.mod_dict]
        self._spliced = True
        try:
            for point, step in steps:
                point.add_hook(step, is_permanent=True, prepend=True)
            for registry in registries:
                registry.update(self._own_hooks())
            yield
        finally:
            self._spliced = False
            for point, step in steps:
                _remove(point, step)
            for registry in registries:
                for name in self._own_hooks():
                    registry.pop(name, None)

    def _steps(self) -> list[tuple[Any, Callable[..., Tensor | None]]]:
        """What the splice does at which hook points."""
        points, hook = self.model.hook_dict, self.hook_name
        if not (model_fit.is_bridge(self.model) and hook.endswith("hook_resid_mid")):
            return [(points[hook], self._steer)]
        # There a bridge's hook_resid_mid is only what the MLP reads: the residual stream goes round it, so
        # the change is added again where the two meet.
        after = hook.removesuffix("hook_resid_mid") + "hook_resid_post"
        return [(points[hook], self._steer_and_keep), (points[after], self._carry)]

    def _steer(self, activation: Float[Tensor, "*any"], hook: Any) -> Float[Tensor, "*any"] | None:
        return None if self._disabled else self.sae_adapter(activation)

    def _steer_and_keep(
        self, activation: Float[Tensor, "*any d_in"], hook: Any
    ) -> Float[Tensor, "*any d_in"] | None:
        steered = self._steer(activation, hook)
        self._change = None if steered is None else steered - activation
        return steered

    def _carry(self, activation: Float[Tensor, "*any d_in"], hook: Any) -> Float[Tensor, "*any d_in"] | None:
        change, self._change = self._change, None
        return None if change is None else activation + change

    def _own_hooks(self) -> dict[str, Any]:
        points = {PREFIX + name: getattr(self.sae_adapter, name) for name in HOOKS}
        for name, point in points.items():
            point.name = name
        return points

    def _checked(self, hooks: Hooks) -> list[Any]:
        wanted = "give pairs (hook's name or a function of it, function)"
        arguments.require(isinstance(hooks, Iterable), "HookedModel", "hooks", hooks, wanted)
        hooks = list(hooks)
        pairs = all(isinstance(hook, tuple | list) and len(hook) == 2 for hook in hooks)
        arguments.require(pairs, "HookedModel", "hooks", hooks, wanted)
        self._check_names([name for name, _ in hooks])
        return hooks

    def _check_names(self, names: Any) -> None:
        """Refuse an unknown hook name: a TransformerBridge would pass over it without a word."""
        if names is None or callable(names):
            return
        wanted = "give a hook's name, a list of names, or a function of the name"
        arguments.require(isinstance(names, Iterable), "HookedModel", "names_filter", names, wanted)
        known = self.model.hook_dict if self._disabled else self.hook_dict
        for name in names:
            if isinstance(name, str) and name not in known:
                raise FsrlError(f"unknown hook {name!r}{did_you_mean(name, known)}; see hook_dict")


def _remove(point: Any, step: Callable[..., Any]) -> None:
    """Take one hook off, and no other: TransformerLens removes permanent hooks only all at once."""
    for handle in [handle for handle in point.fwd_hooks if handle.user_hook == step]:
        handle.hook.remove()
        point.fwd_hooks.remove(handle)
