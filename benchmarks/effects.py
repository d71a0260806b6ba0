"""Measured effects at GPT-2 small's shapes: floating-point operations by hook, and seconds per hook.

    python benchmarks/effects.py --count --output FILE                 # operations only, under a minute
    python benchmarks/effects.py --hooks 0 --features 60 --output FILE # times of one hook, added to FILE
    python benchmarks/effects.py --device cuda --output FILE           # all 13 hooks, full sample, on a GPU

Needs GPT-2 and gpt2-small-res-jb in the hub's cache, or what `gpt2_shapes.py` writes there (random weights).
Operations are those of Torch's FlopCounterMode (products only, 2 per multiply-add) on small real runs; every
part is linear in contexts, features or sites, which is checked, so the sample's own come from exact counts.
Sorting, which ranks need, is no product: the numbers sorted are given beside them.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fsrl.effects import agreement, forward
from fsrl.effects import encoders as effect_encoders
from fsrl.effects import measure as effect_measure
from fsrl.effects.forward import Clean, Tail
from fsrl.effects.names import STEPS
from fsrl.hooks import place_of
from fsrl.models import export, reading, windows
from fsrl.models.sources import ModelSource, SAESource
from fsrl.names import DEGENERATE, LABELS
from fsrl.weights.matrices import Decoder

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())["effects"]
STATES, TYPES = 2, len(LABELS) - (DEGENERATE in LABELS)
SMALL = {name: CONFIG["large_model_on_cpu"][name] for name in CONFIG["sample"]}
MINUTES = 5


@dataclass
class Study:
    """The model, and one SAE at a time, on the device."""

    model: reading.Model
    tail: Tail
    source: SAESource
    hooks: Sequence[str]
    vocabulary: agreement.Vocabulary
    device: str

    @classmethod
    def read(cls, device: str) -> "Study":
        """From the hub's cache."""
        model = reading.read_model(ModelSource(hub="gpt2"))
        source = SAESource(release="gpt2-small-res-jb")
        bridge = model.bridge if device == "cpu" else model.bridge.to(device)
        W_U = export.fold(bridge.W_U.detach(), bridge.ln_final.weight.detach())
        vocabulary = agreement.Vocabulary.of(W_U[:, : model.W_U.shape[1]])
        return cls(model, Tail.of(bridge, device), source, source.sae_ids, vocabulary, device)

    def clean(self, contexts: int, hooks: Sequence[str]) -> Clean:
        """The clean run over the evaluation text of mini, re-tokenised."""
        text = (ROOT / "data/mini/evaluation_text.txt").read_text(encoding="utf-8")
        inputs = windows.windows(
            self.model.bridge.tokenizer, text, context=CONFIG["context"], contexts=contexts
        )
        places = [place_of(hook) for hook in hooks]
        return forward.run_clean(self.model.bridge, inputs.to(self.device), places, hooks, self.device)

    def read_sae(self, hook: str) -> tuple[Any, Decoder]:
        """The SAE on the device, and its directions as a study holds them."""
        sae = effect_encoders.read_encoder(self.source, hook, self.device)
        W_dec = sae.W_dec.detach().cpu()
        return sae, Decoder(W_dec, None, hook, int(hook.split(".")[1]), hook, {})

    def encode(self, sae: Any, hook: str, clean: Clean, features: list[int]) -> Tensor:
        """When the features are active."""
        b_V = self.model.bridge.b_V.detach()
        return effect_encoders.activations(sae, clean.hooks[hook], hook, b_V, torch.tensor(features))

    def measure(self, clean: Clean, decoder: Decoder, features: list[int], found: Tensor, positions: int):
        """The measurement of one hook."""
        return effect_measure.measure(
            self.tail,
            clean,
            decoder,
            self.vocabulary,
            features,
            found,
            positions=positions,
            seed=(0,),
            T=torch.eye(len(self.vocabulary.centred)),
            own_jacobian=CONFIG["sample"]["own_jacobian"],
        )


class InLine:
    """Instead of a pool of threads, which an operations counter does not see into."""

    def __init__(self, workers: int) -> None:
        self.map = map

    def __enter__(self) -> "InLine":
        return self

    def __exit__(self, *error: object) -> None:
        return None


def operations(call: Callable[[], Any]) -> int:
    """Floating-point operations of the products in a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def linear(call: Callable[[int], int], sizes: Sequence[int]) -> tuple[int, int]:
    """(fixed, each) of what is fixed + each * size; fails where the third size says otherwise."""
    first, second, third = (call(size) for size in sizes)
    each, rest = divmod(second - first, sizes[1] - sizes[0])
    fixed = first - each * sizes[0]
    if rest or third != fixed + each * sizes[2]:
        raise SystemExit(f"operations are not linear in the sample: {first}, {second}, {third} at {sizes}")
    return fixed, each


def count(study: Study) -> dict[str, Any]:
    """Operations of the config's two samples, by hook, and of what the hooks share."""
    effect_measure.ThreadPoolExecutor = InLine  # type: ignore[misc, assignment]
    hooks = study.hooks
    _, context = linear(lambda n: operations(lambda: study.clean(n, hooks)), (1, 2, 4))
    clean = study.clean(8, hooks)
    n_tokens, d_model = study.vocabulary.centred.shape[1], study.vocabulary.centred.shape[0]
    per_hook = {}
    for hook in hooks:
        (sae, decoder), chosen = study.read_sae(hook), [0, 1, 2]
        found = study.encode(sae, hook, clean, chosen)
        encode = partial(study.encode, sae, hook, clean, chosen)
        encoder = operations(encode) // found[..., 0].numel()
        # Every feature active at every other position: as many sites in each state as are asked for.
        found = (torch.arange(found.numel()).view(found.shape) % 2).float()

        def run(positions: int, n: int, decoder=decoder, chosen=chosen, found=found) -> int:
            return operations(lambda: study.measure(clean, decoder, chosen[:n], found[..., :n], positions))

        fixed, each = linear(lambda positions: run(positions, 1), (1, 2, 3))
        if run(2, 3) != 3 * (fixed + 2 * each):
            raise SystemExit(f"{hook}: operations are not linear in the features")
        per_hook[hook] = {"vector": encoder, "feature": fixed, "positions": each}
    once = operations(lambda: agreement.Vocabulary.of(study.vocabulary.centred))
    samples = {"sample": CONFIG["sample"], "large_model_on_cpu": SMALL}
    found_all = {name: totals(sample, per_hook, context, once, n_tokens) for name, sample in samples.items()}
    return {"n_tokens": n_tokens, "d_model": d_model, "per_context": context, "per": per_hook, **found_all}


def totals(
    sample: dict[str, int], per_hook: dict[str, dict[str, int]], context: int, once: int, n_tokens: int
) -> dict[str, Any]:
    """Of one sample: its operations in TFLOP, by hook and part, and what it sorts."""
    features = TYPES * sample["features_per_type"]
    vectors = sample["contexts"] * CONFIG["context"]
    # Of each site the feature's changes, and predictions that differ by site; of each feature the other two.
    ranked = len(STEPS) + 1 + CONFIG["sample"]["own_jacobian"]
    rows = features * (STATES * sample["positions"] * ranked + 2)
    hooks = {
        hook: {
            "encode": each["vector"] * vectors / 1e12,
            "measure": features * (each["feature"] + sample["positions"] * each["positions"]) / 1e12,
        }
        for hook, each in per_hook.items()
    }
    clean = context * sample["contexts"] / 1e12
    return {
        **sample,
        "features": features,
        "sites": features * STATES * sample["positions"],
        "tflop_clean_run": clean,
        "tflop_vocabulary": once / 1e12,
        "tflop_by_hook": hooks,
        "tflop_all": clean + once / 1e12 + sum(sum(parts.values()) for parts in hooks.values()),
        "numbers_sorted_per_hook": rows * n_tokens,
    }


def seconds(device: str, call: Callable[[], Any]) -> tuple[float, Any]:
    """Wall time of a call, the device's queue included, and what it gave."""
    begin = time.perf_counter()
    found = call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin, found


def times(study: Study, hooks: Iterable[str], features: int, contexts: int) -> dict[str, Any]:
    """Seconds of the config's full sample, linear in features and contexts: timed on so many of them."""
    sample, device, hooks = CONFIG["sample"], study.device, list(hooks)
    full = TYPES * sample["features_per_type"]
    study.clean(1, hooks)  # libraries start here
    clean_s, clean = seconds(device, lambda: study.clean(contexts, hooks))
    scale = sample["contexts"] / contexts
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads",
        "load_before": os.getloadavg()[0],
        "timed": {"features": features, "of": full, "contexts": contexts, "of_contexts": sample["contexts"]},
        "clean_run_s": clean_s * scale,
        "hooks": {},
    }
    for hook in hooks:
        read_s, (sae, decoder) = seconds(device, partial(study.read_sae, hook))
        chosen = (torch.arange(features) * (sae.cfg.d_sae // features)).tolist()
        encode_s, active = seconds(device, partial(study.encode, sae, hook, clean, chosen))
        measure = partial(study.measure, clean, decoder, chosen, active, sample["positions"])
        measure_s, _ = seconds(device, measure)
        taken = {"read_s": read_s, "encode_s": encode_s * scale, "measure_s": measure_s * full / features}
        found["hooks"][hook] = taken
        print(hook, {name: round(value, 2) for name, value in taken.items()}, flush=True)
    return found


def main() -> None:
    """Count, time, write."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--count", action="store_true", help="operations, no times")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--hooks", type=int, nargs="*", default=list(range(13)), help="which to time, 0 to 12"
    )
    parser.add_argument("--features", type=int, help="to time on; default: the whole sample's")
    parser.add_argument("--contexts", type=int, help="to time on; default: the whole sample's")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    full = TYPES * CONFIG["sample"]["features_per_type"]
    study = Study.read(options.device)
    saved = json.loads(options.output.read_text()) if options.output and options.output.exists() else {}
    saved["machine"] = {"python": platform.python_version(), "torch": torch.__version__}
    if options.count:
        saved["operations"] = count(study)
    else:
        hooks = [study.hooks[i] for i in options.hooks]
        contexts = options.contexts or CONFIG["sample"]["contexts"]
        found = times(study, hooks, options.features or full, contexts)
        found["hooks"] = saved.get(options.device, {}).get("hooks", {}) | found["hooks"]
        saved[options.device] = found
    if "operations" in saved:
        summarise(saved)
    text = json.dumps(saved, indent=1)
    if options.output:
        options.output.write_text(text + "\n")
    print(text)


def summarise(saved: dict[str, Any]) -> None:
    """All 13 hooks from those that were timed, by their operations, and the rate that MINUTES would take."""
    sample = saved["operations"]["sample"]
    saved["tflop_per_second_for_all_hooks_in_5_minutes"] = sample["tflop_all"] / (60 * MINUTES)
    for device in {"cpu", "cuda"} & set(saved):
        timed, parts = saved[device]["hooks"], sample["tflop_by_hook"]
        encode = statistics.mean(part["read_s"] + part["encode_s"] for part in timed.values())
        line = _line([(parts[hook]["measure"], part["measure_s"]) for hook, part in timed.items()])
        measure = sum(line(part["measure"]) for part in parts.values())
        total = saved[device]["clean_run_s"] + len(parts) * encode + measure
        saved[device]["all_hooks_s"] = {"from_hooks": len(timed), "seconds": total}


def _line(points: list[tuple[float, float]]) -> Callable[[float], float]:
    """Seconds by operations: a line through the fewest and the most, or through one and the origin."""
    (x0, y0), (x1, y1) = min(points), max(points)
    slope = (y1 - y0) / (x1 - x0) if x1 > x0 else y0 / x0
    return lambda x: y0 + slope * (x - x0)


if __name__ == "__main__":
    main()
