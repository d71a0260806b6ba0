"""A language model with an SAE adapter spliced in at the SAE's hook.

The splice is the first thing that happens at the hook: what the model computed goes through the adapter, and
every other hook there, and the cache, see what the model goes on with. It is on the model only while a call
of `HookedModel` runs, and in the thread that made it, so the model itself stays as it was (but for being
frozen). Threads that share a model wait for each other; of HookedModels that share one, called within each
other, the innermost alone steers, and hooks given to the outer ones stay (see `fsrl.adapter.turns`).
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fsrl import arguments, plain
from fsrl.adapter.adapter import HOOKS, SAEAdapter, give_gradient
from fsrl.adapter.turns import turn_of
from fsrl.errors import FsrlError, did_you_mean
from fsrl.models import fit as model_fit

Hooks = Iterable[tuple[str | Callable[[str], bool], Callable[..., Any]]]

PREFIX = "sae_adapter."
# What a HookedModel answers with its model's own: names, texts, weights; nothing that runs it, which would be
# without the adapter.
OF_THE_MODEL = frozenset(
    ("cfg", "tokenizer", "to_tokens", "to_string", "to_str_tokens", "to_single_token", "to_single_str_token")
    + ("get_token_position", "tokens_to_residual_directions", "loss_fn", "accumulated_bias", "blocks")
    + ("W_E", "W_pos", "W_U", "b_U", "W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V", "b_O", "ln_final")
    + ("W_in", "W_out", "W_gate", "b_in", "b_out", "QK", "OV")
)


class HookedModel(nn.Module):
    """`model` (HookedTransformer or TransformerBridge) with `sae` spliced in at the SAE's hook.

    The model is frozen and put in eval mode: gradients reach the adapter alone. The adapter's hook points are
    named as its attributes, "sae_adapter.hook_features" and so on, beside the model's own names. Raises
    FsrlError where the SAE is of another model, width, device or hook; warns, with the call to make, where it
    wants centred writing weights and the model's are not.
    """

    def __init__(self, model: Any, sae: SAEAdapter) -> None:
        super().__init__()
        if isinstance(model, HookedModel):
            raise FsrlError(
                "HookedModel: the model is a HookedModel already; give its .model (adapters are not stacked: "
                "the innermost call's alone steers)"
            )
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
        self._disabled = 0
        self._placed: list[Callable[[], None]] = []  # takes off what the splice put on
        self._changes: list[Float[Tensor, "*any d_in"]] = []
        model_fit.warn_of_centring(model, sae)

    @property
    def hook_name(self) -> str:
        """Where the adapter sits."""
        return self.sae_adapter.cfg.metadata.hook_name

    @property
    def hook_dict(self) -> dict[str, Any]:
        """Every hook point by name, the adapter's included."""
        with turn_of(self.model).taken(block=False):
            return {**self.model.hook_dict, **self._own_hooks()}

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            model = self.__dict__.get("_modules", {}).get("model")
            if model is None or name.startswith("_") or not hasattr(model, name):
                raise
        if name in OF_THE_MODEL:
            return getattr(model, name)
        raise AttributeError(
            f"HookedModel has no {name!r}; the model, without the adapter, has it: .model.{name}"
        )

    def __dir__(self) -> list[str]:
        model = self.__dict__.get("_modules", {}).get("model")
        return sorted({*super().__dir__(), *(OF_THE_MODEL & set(dir(model)))})

    def __repr__(self) -> str:
        form, name = type(self.model).__name__, plain.line(str(self.model.cfg.model_name))
        return f"<HookedModel: {form} {name} on {self.device}, with {self.sae_adapter!r}>"

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
        given = [names_filter] if isinstance(names_filter, str) else names_filter
        with self._splice():
            self._check_names(given)
            names = [lambda name: True] if given is None else [given] if callable(given) else list(given)
            with self._gradients(names if kwargs.get("incl_bwd") else []):
                return self.model.run_with_cache(*args, names_filter=names_filter, **kwargs)

    def run_with_hooks(self, *args: Any, fwd_hooks: Hooks = (), bwd_hooks: Hooks = (), **kwargs: Any) -> Any:
        """As the model's run_with_hooks; names may be the adapter's. A backward pass needs `hooks`."""
        with self._splice():
            fwd, bwd = self._checked(fwd_hooks), self._checked(bwd_hooks)
            with self._gradients([name for name, _ in bwd]):
                return self.model.run_with_hooks(*args, fwd_hooks=fwd, bwd_hooks=bwd, **kwargs)

    @contextmanager
    def hooks(self, fwd_hooks: Hooks = (), bwd_hooks: Hooks = (), **kwargs: Any) -> Iterator["HookedModel"]:
        """Hooks that stay while the block runs, backward passes included; as the model's `hooks`.

        Where there are backward hooks gradients flow, though the model before the adapter is frozen. Other
        threads wait until the block ends.
        """
        with self._splice(block=True):
            fwd, bwd = self._checked(fwd_hooks), self._checked(bwd_hooks)
            with self._gradients([name for name, _ in bwd]), self.model.hooks(fwd, bwd, **kwargs):
                yield self

    def reset_hooks(self, *args: Any, **kwargs: Any) -> None:
        """As the model's reset_hooks, the adapter's hook points included."""
        with self._splice():
            self.model.reset_hooks(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> "HookedModel":
        # A TransformerBridge keeps results of its last pass, and torch copies none that a gradient leads to.
        held = [value for module in self.model.modules() for value in vars(module).values()]
        memo |= {id(x): x.detach() for x in held if isinstance(x, Tensor) and not x.is_leaf}
        memo[id(self)] = made = type(self).__new__(type(self))
        vars(made).update(copy.deepcopy(vars(self), memo))
        return made

    def __copy__(self) -> "HookedModel":
        """Another HookedModel of the same model and adapter."""
        made, own = type(self).__new__(type(self)), {"_placed": [], "_changes": [], "_disabled": 0}
        vars(made).update({**vars(self), **own, "_modules": dict(self._modules)})
        return made

    def __getstate__(self) -> dict[str, Any]:
        if model_fit.is_bridge(self.model):
            raise FsrlError(
                "HookedModel: a TransformerBridge holds functions that cannot be pickled; pickle "
                ".sae_adapter, and make HookedModel(load_model(...), sae_adapter) of it"
            )
        return vars(self)

    @contextmanager
    def disabled(self) -> Iterator["HookedModel"]:
        """While the block runs the adapter is out and this is the plain model; other threads wait."""
        with turn_of(self.model).taken(block=True):
            self._disabled += 1
            try:
                with self._splice():
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
    def _splice(self, *, block: bool = False) -> Iterator[None]:
        """Have the model to ourselves, with the adapter at its hook and its hook points among the model's."""
        turn = turn_of(self.model)
        with turn.taken(block=block):
            before, changes = turn.steering, self._changes
            self._changes = []
            try:
                self._hand_over(None if self._disabled else self)
                yield
            finally:
                self._hand_over(before)
                self._changes = changes

    def _hand_over(self, to: "HookedModel | None") -> None:
        """Take the adapter that is on the model off, and put that of `to` on."""
        turn = turn_of(self.model)
        if turn.steering is to:
            return
        if turn.steering is not None:
            turn.steering._take_off()
        turn.steering = to
        if to is not None:
            to._put_on()

    def _put_on(self) -> None:
        for point, step in self._steps():
            self._placed.append(_place(point, step))
        for registry in self._registries():
            registry.update(self._own_hooks())

    def _take_off(self) -> None:
        while self._placed:
            self._placed.pop()()
        for registry in self._registries():
            for name in self._own_hooks():
                registry.pop(name, None)

    def _registries(self) -> list[dict[str, Any]]:
        """Where the model looks hook points up by name."""
        # A HookedTransformer's hook_dict is its registry, a TransformerBridge's is a copy made on demand.
        if model_fit.is_bridge(self.model):
            return [self.model._hook_registry]
        return [self.model.hook_dict, self.model.mod_dict]

    def _steps(self) -> list[tuple[Any, Callable[..., Tensor | None]]]:
        """What the splice does at which hook points."""
        points, hook, is_bridge = self.model.hook_dict, self.hook_name, model_fit.is_bridge(self.model)
        if hook == "hook_embed" and not is_bridge:
            # Its generate passes over hook_embed, which holds nothing but what this module gives.
            return [(self.model.embed, self._steer)]
        if not (is_bridge and hook.endswith("hook_resid_mid")):
            return [(points[hook], self._steer)]
        # There a bridge's hook_resid_mid is only what the MLP reads: the residual stream goes round it, so
        # the change is added again where the two meet.
        after = hook.removesuffix("hook_resid_mid") + "hook_resid_post"
        return [(points[hook], self._steer_and_keep), (points[after], self._carry)]

    def _steer(self, activation: Float[Tensor, "*any"], hook: Any) -> Float[Tensor, "*any"] | None:
        # Another thread may be running the model itself, which is not ours to steer.
        return self.sae_adapter(activation) if turn_of(self.model).is_mine() else None

    def _steer_and_keep(
        self, activation: Float[Tensor, "*any d_in"], hook: Any
    ) -> Float[Tensor, "*any d_in"] | None:
        steered = self._steer(activation, hook)
        if steered is not None:
            self._changes.append(steered - activation)
        return steered

    def _carry(self, activation: Float[Tensor, "*any d_in"], hook: Any) -> Float[Tensor, "*any d_in"] | None:
        if not (self._changes and turn_of(self.model).is_mine()):
            return None
        return activation + self._changes.pop()

    @contextmanager
    def _gradients(self, names: Iterable[str | Callable[[str], bool]]) -> Iterator[None]:
        """Let gradients begin at the hook points of these names, where nothing before them has any."""
        known = self.model.hook_dict if names else {}
        points: dict[int, Any] = {}
        for wanted in names:
            found = [wanted] if isinstance(wanted, str) else filter(wanted, known)
            points |= {id(known[name]): known[name] for name in found}
        with ExitStack() as handles:
            for point in points.values():
                handles.enter_context(point.register_forward_pre_hook(give_gradient))
            yield

    def _own_hooks(self) -> dict[str, Any]:
        points = {PREFIX + name: getattr(self.sae_adapter, name) for name in HOOKS}
        for name, point in points.items():
            point.name = name
        return points

    def _checked(self, hooks: Hooks) -> list[Any]:
        wanted = "give pairs (hook's name or a function of it, function)"
        arguments.require(isinstance(hooks, Iterable), "HookedModel", "hooks", hooks, wanted)
        hooks = list(hooks)
        for hook in hooks:
            is_pair = isinstance(hook, tuple | list) and len(hook) == 2 and callable(hook[1])
            right = is_pair and (isinstance(hook[0], str) or callable(hook[0]))
            arguments.require(right, "HookedModel", "hooks", hooks, wanted)
        self._check_names([name for name, _ in hooks])
        return hooks

    def _check_names(self, names: Any) -> None:
        """Refuse an unknown hook name: a TransformerBridge would pass over it without a word. Spliced in."""
        if names is None or callable(names):
            return
        wanted = "give a hook's name, a list of names, or a function of the name"
        arguments.require(isinstance(names, Iterable), "HookedModel", "names_filter", names, wanted)
        known = self.model.hook_dict
        for name in names:
            if isinstance(name, str) and name not in known:
                raise FsrlError(f"unknown hook {name!r}{did_you_mean(name, known)}; see hook_dict")


def _place(point: Any, step: Callable[..., Tensor | None]) -> Callable[[], None]:
    """Make `step` the first thing that happens at a hook point (or to a module's output); call to undo it."""
    if not hasattr(point, "fwd_hooks"):

        def first(module: Any, _: Any, output: Tensor) -> Tensor | None:
            return step(output, module)

        return point.register_forward_hook(first, prepend=True).remove
    point.add_hook(step, is_permanent=True, prepend=True)
    return partial(_remove, point, step)


def _remove(point: Any, step: Callable[..., Any]) -> None:
    """Take one hook off, and no other: TransformerLens removes permanent hooks only all at once."""
    for handle in [handle for handle in point.fwd_hooks if handle.user_hook == step]:
        handle.hook.remove()
        point.fwd_hooks.remove(handle)
