"""What the agreement of transported weights with measured effects hangs on: where it is measured, how far a
step goes, how many sites are averaged.

    python benchmarks/transport_sites.py                                # `mini`, built: all hooks
    python benchmarks/transport_sites.py --hooks blocks.0.hook_resid_pre --features 40

Features are drawn uniformly among those that fire, whatever their types. Sites are those of the effects'
windows where a feature fires (active), or where it does not (inactive), each in another window. Of T and of
direct weights: the correlation at single sites, the slope of the change on T's prediction there, and the
correlation of the mean change over 12 and over all sites. Steps: one unit, and a hundredth of it, which is as
good as a derivative. The correlations at single sites and their difference (`gain`) have 95 % intervals, of a
bootstrap over features. A CPU minute or two.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

from fsrl import files
from fsrl.effects import agreement, encoders, forward, sample
from fsrl.models import reading, sources, windows
from fsrl.stats.strata import weighted_mean
from fsrl.weights import matrices, transport

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())
STEPS, FEW = (1.0, 0.01), 12
# What has an interval.
SINGLE, DRAWS = ["T", "direct", "gain"], 2000


def main() -> None:
    """Print a table for each kind of site and step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--hooks", nargs="+", help="of `mini`; all by default")
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--sites", type=int, default=48, help="of each feature and state")
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    asked = parser.parse_args()
    study = CONFIG["studies"]["mini"]
    saes = sources.SAESource.from_settings(study["saes"])
    hooks = asked.hooks or list(saes.sae_ids)
    model = reading.read_model(sources.ModelSource(**study["model"]))
    text = files.read_text(ROOT / CONFIG["study_defaults"]["evaluation_text"])
    asked_of = {"context": CONFIG["effects"]["context"], "contexts": CONFIG["effects"]["sample"]["contexts"]}
    inputs = windows.windows(model.tokenizer, text, **asked_of, d_vocab=model.bridge.cfg.d_vocab)
    tail = forward.Tail.of(model.bridge)
    clean = forward.run_clean(model.bridge, inputs, [tail.place(hook) for hook in hooks], hooks, "cpu")
    unembedding = matrices.read_unembedding(next(asked.results.glob("models/*mini*/unembedding.safetensors")))
    view = CONFIG["views"][CONFIG["effects"]["view"]]
    vocabulary = agreement.Vocabulary.of(matrices.view_unembedding(unembedding, **view)[0])
    moved = transport.read(asked.results / "mini/transport.safetensors")
    rows = []
    for hook in hooks:
        encoder = encoders.read_encoder(saes, hook, torch.device("cpu"))
        W_dec = matrices.read_decoder(asked.results / f"mini/{hook}/decoder.safetensors").W_dec
        chosen = torch.from_numpy(np.random.default_rng(0).permutation(len(W_dec))[: 2 * asked.features])
        active = encoders.activations(encoder, clean.hooks[hook], hook, None, chosen.sort().values)
        fires = (
            (active[:, windows.FIRST_POSITION :] != 0).any(0).any(0).nonzero().squeeze(1)[: asked.features]
        )
        rows += of_hook(
            hook,
            W_dec[chosen.sort().values[fires]],
            active[:, :, fires],
            tail,
            clean,
            vocabulary,
            moved.at(hook),
            asked.sites,
        )
    found = pd.DataFrame(rows)
    for (state, step), part in found.groupby(["state", "step"], sort=False):
        print(f"\n{state} sites, step {step:g}")
        print(part.drop(columns=["state", "step"]).to_string(index=False, float_format="{:.3f}".format))
    if asked.output is not None:
        found.to_json(asked.output, orient="records", indent=1)


def of_hook(hook, W_dec, active, tail, clean, vocabulary, T, n) -> list[dict]:
    """Rows of one hook: means over features of what is read off each."""
    sites = sample.sites(active, [(0, i) for i in range(len(W_dec))], n)
    place, found = tail.place(hook), []
    for i, row in enumerate(W_dec):
        for state in ("active", "inactive"):
            own = torch.from_numpy((sites.feature.numpy() == i) & (sites.state == state))
            if not own.any():
                continue
            where = sites.context[own], sites.position[own]
            added = torch.stack([step * row for step in STEPS]).expand(int(own.sum()), -1, -1)
            changed = forward.changes(tail, clean, place, *where, added)
            _, scale = forward.normalise(clean.final[where], tail.eps)
            for k, step in enumerate(STEPS):
                u = changed[:, k] / step
                found.append({"hook": hook, "state": state, "step": step, "sites": len(u)})
                for name, p in (("T", T @ row), ("direct", row)):
                    single = agreement.line(u, p / scale, vocabulary)
                    found[-1] |= {name: single.pearson.mean(), f"slope_{name}": single.slope.mean()}
                    for of, m in (("12", FEW), ("all", len(u))):
                        mean = agreement.line(u[:m].mean(0), (p / scale[:m]).mean(0), vocabulary)
                        found[-1] |= {
                            f"{name}_mean_of_{of}": mean.pearson,
                            f"slope_{name}_mean_of_{of}": mean.slope,
                        }
    frame = pd.DataFrame(
        [{key: float(x) if torch.is_tensor(x) else x for key, x in one.items()} for one in found]
    )
    frame["gain"] = frame["T"] - frame["direct"]
    groups = frame.groupby(["hook", "state", "step"], sort=False)
    means = groups.mean().assign(features=groups.size())
    for key, part in groups:
        one = np.ones(len(part), dtype=int)
        _, low, high = weighted_mean(part[SINGLE].to_numpy(), one, one, draws=DRAWS, seed=0)
        means.loc[key, [f"{name}_low" for name in SINGLE]] = low
        means.loc[key, [f"{name}_high" for name in SINGLE]] = high
    return means.reset_index().to_dict("records")


if __name__ == "__main__":
    main()
