"""Every release that SAELens lists, as far as its directory tells: nothing is fetched or heavy to import.

The directory gives repositories, ids and paths; how wide a dictionary is stands in their names, mostly, and
of some releases whose names are silent in PUBLISHED_WIDTHS. A
release is supported where fsrl reads its layout and the model as it is published: REASONS has what else there
is, and config/README.md says it again.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

import pandas as pd

from fsrl import plain
from fsrl.errors import FsrlError
from fsrl.models import releases
from fsrl.models.releases import CLT, Release
from fsrl.tables.releases import RELEASES

# The hub's repositories of models that the directory calls by a short name.
REPOSITORIES = {
    "gpt2-small": "gpt2",
    "mistral-7b": "mistralai/Mistral-7B-v0.1",
    "pythia-70m-deduped": "EleutherAI/pythia-70m-deduped",
    **{name: f"google/{name}" for name in ("gemma-2b", "gemma-2b-it", "gemma-2-2b", "gemma-2-9b")},
    **{name: f"google/{name}" for name in ("gemma-2-9b-it", "gemma-2-27b")},
    **{f"qwen3-{size}b": f"Qwen/Qwen3-{size}B" for size in ("0.6", "1.7", "4", "8", "14")},
}
# Where the directory names another model than the repository and SAELens' loader do.
CORRECTED = {"gemma-scope-9b-it-res": "gemma-2-9b-it"}
# d_model, from the models' config.json.
WIDTHS = {
    "gpt2": 768,
    "EleutherAI/pythia-70m-deduped": 512,
    "mistralai/Mistral-7B-v0.1": 4096,
    **dict.fromkeys(("google/gemma-2b", "google/gemma-2b-it"), 2048),
    "google/gemma-2-2b": 2304,
    **dict.fromkeys(("google/gemma-2-9b", "google/gemma-2-9b-it"), 3584),
    "google/gemma-2-27b": 4608,
    **dict.fromkeys(("google/gemma-3-270m", "google/gemma-3-270m-it"), 640),
    **dict.fromkeys(("google/gemma-3-1b-pt", "google/gemma-3-1b-it"), 1152),
    **dict.fromkeys(("google/gemma-3-4b-pt", "google/gemma-3-4b-it"), 2560),
    **dict.fromkeys(("google/gemma-3-12b-pt", "google/gemma-3-12b-it"), 3840),
    **dict.fromkeys(("google/gemma-3-27b-pt", "google/gemma-3-27b-it"), 5376),
    **dict.fromkeys(("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct"), 4096),
    **dict.fromkeys(
        ("meta-llama/Meta-Llama-3-8B-Instruct", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"), 4096
    ),
    "meta-llama/Llama-3.3-70B-Instruct": 8192,
    "Qwen/Qwen2.5-7B-Instruct": 3584,
    "Qwen/Qwen3-0.6B": 1024,
    **dict.fromkeys(("Qwen/Qwen3-1.7B", "Qwen/Qwen3-1.7B-Base", "Qwen/Qwen3-30B-A3B-Base"), 2048),
    "Qwen/Qwen3-4B": 2560,
    **dict.fromkeys(("Qwen/Qwen3-8B", "Qwen/Qwen3-8B-Base"), 4096),
    "Qwen/Qwen3-14B": 5120,
    "Qwen/Qwen3.5-2B-Base": 2048,
    "Qwen/Qwen3.5-9B-Base": 4096,
    "Qwen/Qwen3.5-27B": 5120,
    "Qwen/Qwen3.5-35B-A3B-Base": 2048,
    "openai/gpt-oss-20b": 2880,
}
# d_sae of every SAE of releases whose names do not tell it, and who says so.
PUBLISHED_WIDTHS = {
    "gpt2-small-res-jb": 24576,  # its author: 32 times d_model
    # The sizes of its repositories' files: 128 KiB of densities, 128 MiB of weights.
    **dict.fromkeys((f"pythia-70m-deduped-{place}-sm" for place in ("att", "mlp", "res")), 32768),
    "llama-3-8b-it-res-jh": 65536,  # its repository's README
    # 60 times d_model: dict_size_to_input_ratio in the YAML beside each of apollo-research/e2e-saes-gpt2.
    **dict.fromkeys(
        (f"gpt2-small-res_{kind}-ajt" for kind in ("sce", "scefr", "scl", "sle", "slefr", "sll")), 46080
    ),
    "mistral-7b-res-wg": 65536,  # the cfg.json of its repository
    # SAELens' tests of its loaders, against the hub.
    **dict.fromkeys((f"mwhanna-qwen3-{size}b-transcoders" for size in (4, 8, 14)), 163840),
    "llama-3.1-8b-instruct-andyrdt": 131072,
    # The shapes of its files; 26 layers of them are the 2.5 M of its name.
    "mntss-gemma-2-2b-2.5m-clt-as-per-layer": 98304,
    "qwen2.5-7b-instruct-andyrdt": 131072,  # the shapes of its files
    # SAELens' loader (get_goodfire_config_from_hf).
    **dict.fromkeys(("goodfire-llama-3.3-70b-instruct", "goodfire-llama-3.1-8b-instruct"), 65536),
}
# What a release may be refused for, and which models are.
REASONS = {
    "layout": "a layout of SAELens' that fsrl does not read",
    "quantised": "its model is published quantised (MXFP4); give a folder with its weights unpacked",
    "images": "its model sees images too, and TransformerLens cannot boot it without torchvision; give a "
    "folder with the model of texts alone",
}
REFUSED_MODELS = {
    "openai/gpt-oss-20b": "quantised",
    "Qwen/Qwen3.5-2B-Base": "images",
    "Qwen/Qwen3.5-9B-Base": "images",
    "Qwen/Qwen3.5-27B": "images",
    "Qwen/Qwen3.5-35B-A3B-Base": "images",
}
# Thousands that names round, and what they stand for; other thousands are of 1,024.
THOUSANDS = {65: 65536, 131: 131072, 262: 262144, 524: 524288}


def _thousands(number: int) -> int:
    return THOUSANDS.get(number, number * 1024)


# How names tell a width, the surest first: in the id, the path, the repository, the place at Neuronpedia.
NAMED_WIDTHS = (
    (r"width_(\d+)k(?![a-z0-9])", _thousands),
    (r"width_(\d+)m(?![a-z0-9])", lambda n: n * 2**20),
    (r"2pow(\d+)", lambda n: 2**n),
    (r"_ds(\d+)_", lambda n: n),
    (r"hook_resid_(?:pre|post)_(\d+)(?=$|_)", lambda n: n),
    (r"hook_mlp_out_(\d+):", lambda n: n),
    (r"-W(\d+)K-", lambda n: n * 1024),
    (r"-w-(\d+)k-", lambda n: n * 1024),
    (r"-v5-(\d+)k-", lambda n: n * 1024),
    (r"res-(\d+)k(?=$|__)", _thousands),
)


def frame(studies: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Table `releases`: a row for each, in the directory's order. studies: name -> the release it reads."""
    reading: dict[str, list[str]] = {}
    for study, release in (studies or {}).items():
        reading.setdefault(release, []).append(study)
    rows = [_row(name, reading.get(name, [])) for name in releases.names()]
    return pd.DataFrame(rows, columns=list(RELEASES.columns)).astype({"float32_gb": "float64"})


def model_of(name: str) -> str:
    """The repository on the hub of a release's model; FsrlError for an unknown release."""
    named = CORRECTED.get(name) or releases.facts(name)["model"]
    return REPOSITORIES.get(named, named)


def why_not(name: str) -> str | None:
    """The key of REASONS for which a release is not supported; None for one that is."""
    try:
        releases.find(name)
    except FsrlError:
        return "layout"
    return REFUSED_MODELS.get(model_of(name))


def widths(name: str) -> list[int | None]:
    """d_sae of each of the release's SAEs as SAELens lists them, None where it is not known."""
    facts, model = releases.facts(name), model_of(name)
    if name in PUBLISHED_WIDTHS:
        return [PUBLISHED_WIDTHS[name]] * len(facts["saes"])
    return [
        _width((sae["id"], str(sae["path"]), facts["repo_id"], sae.get("neuronpedia") or ""), model)
        for sae in facts["saes"]
    ]


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table for a TSV: lists as text, "" for what is not known."""
    lists = {name: table[name].map(lambda found: " ".join(map(str, found))) for name in ("d_sae", "studies")}
    return table.assign(**lists)


def lines(table: pd.DataFrame) -> Iterator[str]:
    """The table in columns for a terminal, and how many are supported."""
    shown: list[tuple[str, ...]] = [("release", "model", "SAEs", "d_sae", "GB", "Neuronpedia", "supported")]
    for row in table.itertuples():
        size = "" if pd.isna(row.float32_gb) else f"{row.float32_gb:.1f}"
        why = "yes" if row.supported else f"no: {row.why_not}"
        wide = " ".join(map(str, row.d_sae))
        found = (row.release, row.model, str(row.saes), wide, size, str(row.neuronpedia), why)
        shown.append(tuple(map(plain.line, found)))
    sizes = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for cells in shown:
        padded = (cell.ljust(size) for cell, size in zip(cells, sizes, strict=True))
        yield "  ".join(padded).rstrip()
    yield f"{int(table['supported'].sum())} of {len(table)} releases are supported"


def _row(name: str, studies: list[str]) -> dict[str, object]:
    facts, reason = releases.facts(name), why_not(name)
    found = None if reason == "layout" else releases.find(name)
    known = widths(name)
    return {
        "release": name,
        "model": model_of(name),
        "kind": _kind(found),
        "saes": len(facts["saes"] if found is None else found.saes),
        "d_sae": sorted({width for width in known if width}),
        "float32_gb": _size(name, known),
        "neuronpedia": sum(bool(sae.get("neuronpedia")) for sae in facts["saes"]),
        "supported": reason is None,
        "why_not": None if reason is None else REASONS[reason],
        "studies": studies,
    }


def _kind(release: Release | None) -> str:
    if release is None or not release.transcoders:
        return "SAEs"
    return "cross-layer transcoders" if release.layout == CLT else "transcoders"


def _size(name: str, known: Iterable[int | None]) -> float | None:
    """GB of encoders and decoders, d_model wide each; None where they are not, or a width is not known."""
    d_model = WIDTHS.get(model_of(name))
    # Over the heads of an attention, or with a decoder to each layer.
    other = re.search(r"-att(-|$)|hook-z|-clt-", name) and not name.startswith("gpt2")
    if d_model is None or other or None in known:
        return None
    return round(sum(2 * 4 * d_model * width for width in known if width) / 1e9, 1)


def _width(names: Iterable[str], model: str) -> int | None:
    names = list(names)
    for pattern, value in NAMED_WIDTHS:
        for name in names:
            if match := re.search(pattern, name):
                return int(value(int(match[1])))
    # Llama Scope: so many times as wide as the model.
    times = next((match for name in names if (match := re.search(r"-L\d+[AMR]-(\d+)x$", name))), None)
    return int(times[1]) * WIDTHS[model] if times and model in WIDTHS else None
