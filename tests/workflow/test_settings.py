"""Every fault in the config stops the run with one line that says where it is and what would be right."""

import copy
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tokenizers import Tokenizer

from fsrl.errors import FsrlError
from tests.fixtures import tiny_study as tiny
from tests.fixtures.project import ROOT, Project
from workflow import settings, studies

SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())


def set_at(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        for key in path[:-1]:
            config = config[key]
        config[path[-1]] = value

    return change


def test_the_projects_own_config_is_sound() -> None:
    settings.check(CONFIG, SCHEMA)


def test_a_view_with_transport_needs_a_null_of_each_layer() -> None:
    config = copy.deepcopy(CONFIG)
    assert studies.left_out("mini", config) == []
    assert "transported" in studies.resolve("mini", config).views
    config["nulls"]["kinds"] = ["isotropic"]
    assert studies.left_out("mini", config) == ["transported"]
    assert studies.resolve("mini", config).views == ["main", "trained", "cosine"]


@pytest.mark.parametrize("place", ["figure_views", "effects.view", "views.x.transport"])
def test_where_transport_cannot_be_is_said(place: str) -> None:
    config = copy.deepcopy(CONFIG)
    if place == "figure_views":
        config["studies"]["mini"]["figure_views"] = ["transported", "trained"]
        words = "studies.mini.figure_views: the first is the paper's, and transported has transport"
    elif place == "effects.view":
        config["effects"]["view"] = "transported"
        words = "effects.view: choose a view with w_u: folded, cosine: false and no transport"
    else:
        config["views"]["x"] = CONFIG["views"]["main"] | {"transport": "later"}
        words = "views.x.transport: 'later' is not a choice; choose one of same_position"
    with pytest.raises(FsrlError, match=re.escape(words)):
        settings.check(config, SCHEMA)


def test_every_setting_of_the_schema_is_described() -> None:
    def check(schema: dict[str, Any], place: str) -> None:
        for name, entry in schema.get("properties", {}).items():
            assert entry.get("description"), f"{place}.{name}"
            check(entry, f"{place}.{name}")

    schema = yaml.safe_load(SCHEMA.read_text())
    for place, entry in {"config": schema, **schema["$defs"]}.items():
        check(entry, place)


ODD_NAMES = (
    *(
        "{evil}",
        "a/b",
        "..",
        ".a",
        "-a",
        "a b",
        "a\n",
        "a\x1b[31m",
        "é",
        "",
        "a" * 101,
        "NUL",
        "com1.x",
        "a*",
    ),
)
ODD_PATHS = ("", "a/{evil}", "a\0b", "a\nb", "\x1b[31m")
# Place of a setting, what is given, and what the line must hold besides the place.
VALUES: list[tuple[tuple[str, ...], Any, list[str]]] = [
    (("run",), [], ["[] is empty"]),
    (("run",), ["mini", "mini"], ["unique"]),
    (("run",), "mini", ["'mini'", "array"]),
    (("study",), False, ["False", "string", "quotes"]),
    (("studies",), {}, ["empty"]),
    (("studies", "mini", "figure_views"), [], ["[] is empty"]),
    (("study_defaults", "figure_views"), [], ["[] is empty"]),
    (("study_defaults", "views"), [], ["[] is empty"]),
    (("study_defaults", "views"), ["main", "main"], ["unique"]),
    *((("studies", "mini", "evaluation_text"), path, ["cannot be used", "braces"]) for path in ODD_PATHS),
    *((("studies", "mini", "token_counts"), path, ["cannot be used", "braces"]) for path in ODD_PATHS),
    (("studies", "mini", "token_counts"), 1, ["1", "string"]),
    *((("studies", "mini", "model", "folder"), path, ["cannot be used"]) for path in ODD_PATHS),
    *((("studies", "mini", "saes", "folder"), path, ["cannot be used"]) for path in ODD_PATHS),
    (("studies", "mini", "title"), False, ["False", "string", "quotes"]),
    (("studies", "mini", "title"), 2024, ["2024", "string", "quotes"]),
    (("studies", "mini", "title"), "", ["no line of text"]),
    (("studies", "mini", "title"), "two\nlines", ["no line of text"]),
    (("studies", "mini", "title"), "a\x07b", ["no line of text"]),
    (("studies", "mini", "title"), "a\u202eb", ["no line of text"]),
    (("studies", "mini", "title"), "a " * 41, ["too long", "80"]),
    (("studies", "mini", "title"), "a" * 25, ["too long", "24"]),
    (("studies", "mini", "title"), "中文研究", ["too long", "<U+4E2D>"]),
    (("studies", "mini", "download_gb"), float("inf"), ["inf", "finite"]),
    (("tokens", "draws"), 10**30, ["greater than the maximum", "10000000"]),
    (("tokens", "min_count"), 0, ["0", "minimum"]),
    (("tokens", "seed"), -1, ["-1", "minimum of 0"]),
    (("tokens", "seed"), 2**32, ["greater than the maximum"]),
    (("moments", "n_bins"), 10**9, ["1000000000", "maximum of 1000"]),
    (("moments", "n_bins"), 50.5, ["50.5", "integer"]),
    (("moments", "n_extremes"), 10**9, ["maximum of 1000"]),
    (("nulls", "draws"), 1e30, ["1e+30", "integer"]),
    (("nulls", "draws"), 1e5, ["100000.0", "integer", "write 100000"]),
    (("nulls", "draws"), "1e5", ["'1e5'", "integer", "as text"]),
    (("nulls", "draws"), 10**30, ["greater than the maximum"]),
    (("nulls", "draws"), True, ["True", "integer"]),
    (("nulls", "draws"), float("nan"), ["nan", "finite"]),
    (("nulls", "layer_draws"), None, ["None", "integer"]),
    (("nulls", "context"), 1, ["minimum of 2"]),
    (("nulls", "kinds"), ["isotropic", "isotropic"], ["unique"]),
    (("enrichment", "level"), float("nan"), ["nan", "finite"]),
    (("enrichment", "level"), 0, ["0"]),
    (("enrichment", "bootstrap"), 10**9, ["maximum of 100000"]),
    (("claims", "dip_draws"), 10**9, ["maximum of 1000000"]),
    (("claims", "null_features"), 1, ["minimum of 2"]),
    (("sensitivity", "draws"), [1, 2], ["maximum of 1"]),
    (("sensitivity", "layer_share"), [1, 0], ["0"]),
    (("sensitivity", "layer_share"), [1, -2], ["-2"]),
    (("sensitivity", "number"), [], ["empty"]),
    (("ablations", "parts"), [2, 1], ["minimum of 2"]),
    (("planted", "features"), 10**9, ["maximum of 1000000"]),
    (("effects", "context"), 1, ["minimum of 2"]),
    (("device",), "tpu", ["'tpu' is not a choice", "auto, cpu, cuda"]),
    (("views", "main", "cosine"), "no", ["'no'", "boolean"]),
    (("token_sets", "extra"), {"Mine": {"words": ["cat"]}}, ["'Mine'", "lower_case"]),
    (("token_sets", "extra"), {"mine": {"words": []}}, ["mine.words", "empty"]),
    (("token_sets", "extra"), {"mine": {"words": ["cat", "cat"]}}, ["mine.words", "unique"]),
    (("token_sets", "extra"), {"mine": {"words": [" "]}}, ["mine.words[0]", "' '"]),
    (("token_sets", "extra"), {"mine": {}}, ["mine", "empty"]),
    (("token_sets", "extra"), {"mine": {"regex": "("}}, ["mine.regex", "'('", "no regular expression"]),
    (("token_sets", "extra"), {"mine": {"regex": "a", "words": ["a"]}}, ["mine"]),
    *((("studies",), {name: {"model": {}, "saes": {}}}, ["cannot be used"]) for name in ODD_NAMES),
    *((("studies",), {name: {"model": {}, "saes": {}}}, [name]) for name in ("benchmarks", "models")),
    *((("views",), {name: CONFIG["views"]["main"]}, ["cannot be used"]) for name in ODD_NAMES),
    *((("types", "schemes"), {name: {}}, ["cannot be used"]) for name in ODD_NAMES[:-4]),
]
BOUNDS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["at least one"]),
    ({"above": "null0.999"}, ["null0.999", "no bound"]),
    ({"above": float("nan")}, ["nan"]),
    ({"above": float("inf")}, ["inf"]),
    ({"above": 3, "below": 3}, ["leave nothing"]),
    ({"min": "q0.9", "max": "q0.1"}, ["leave nothing"]),
    ({"above": 1, "min": 1}, ["both above and min"]),
    ({"above": True}, ["True", "no bound"]),
]
POST = ("types", "schemes", "post", "types")
CALIBRATED = ("types", "schemes", "calibrated")
FAULTS = {
    "unknown key": (set_at("moment", value={}), ["top level", "'moment'", "did you mean 'moments'?"]),
    "typo deep inside": (
        lambda config: config["moments"].update(precison=config["moments"].pop("precision")),
        ["moments", "unknown key 'precison'", "did you mean 'precision'?", "n_bins"],
    ),
    "key of a lens": (
        set_at("views", "lens", "transport", value={"lense": "a.pt"}),
        ["views.lens.transport", "unknown key 'lense'", "did you mean 'lens'?"],
    ),
    "lens without one": (set_at("views", "lens", "transport", value=3), ["views.lens.transport", "object"]),
    "key that YAML does not read as text": (set_at("views", True, value={}), ["views", "True"]),
    "device where it was": (
        set_at("effects", "device", value="auto"),
        ["effects.device", "move it to `device` at the top level"],
    ),
    "unknown device": (set_at("device", value="gpu"), ["device", "'gpu'", "auto, cpu, cuda"]),
    "wrong type": (set_at("nulls", "draws", value="many"), ["nulls.draws", "'many'", "integer"]),
    "out of range": (set_at("nulls", "draws", value=10), ["nulls.draws", "10", "1000"]),
    "unknown key of a study": (
        lambda config: config["studies"]["mini"].update(saess={}),
        ["studies.mini", "unknown key 'saess'", "did you mean 'saes'?"],
    ),
    "unknown key of a source": (
        set_at("studies", "mini", "model", value={"hup": "gpt2"}),
        ["studies.mini.model", "unknown key 'hup'", "did you mean 'hub'?", "revision"],
    ),
    "no such choice": (set_at("moments", "precision", value="fp8"), ["moments.precision", "fp64, fp32"]),
    "missing setting": (lambda config: config.pop("nulls"), ["top level", "'nulls'"]),
    "unknown study in run": (set_at("run", value=["mimi"]), ["run", "'mimi'", "did you mean 'mini'?"]),
    "unknown study": (set_at("study", value="maxi"), ["study", "'maxi'", "known: mini"]),
    "unknown view": (
        set_at("studies", "mini", "views", value=["main", "trainde"]),
        ["studies.mini.views", "'trainde'", "did you mean 'trained'?"],
    ),
    "figures of a view without tables": (
        set_at("studies", "mini", "figure_views", value=["raw"]),
        ["studies.mini.figure_views", "'raw'", "main, trained, cosine"],
    ),
    "scheme reads a view that is not built": (
        set_at("studies", "mini", "views", value=["main", "trained"]),
        ["types.schemes.universal_neurons.view", "study mini", "'cosine'"],
    ),
    "unknown default scheme": (
        set_at("types", "default_scheme", value="calibrate"),
        ["types.default_scheme", "did you mean 'calibrated'?"],
    ),
    "enrichment of an unknown view": (
        set_at("enrichment", "views", value=["trained", "tained"]),
        ["enrichment.views", "'tained'", "did you mean 'trained'?"],
    ),
    "explanations of an unknown view": (
        set_at("explanations", "view", value="tained"),
        ["explanations.view", "'tained'", "did you mean 'trained'?"],
    ),
    "truth planted in an unknown study": (
        set_at("planted", "studies", value=["mimi"]),
        ["planted.studies", "'mimi'", "did you mean 'mini'?"],
    ),
    "an ablation of an unknown study": (
        set_at("ablations", "studies", value=["mimi"]),
        ["ablations.studies", "'mimi'", "did you mean 'mini'?"],
    ),
    "malformed threshold": (
        set_at(*POST, "prediction", "skewness", "above", value="nul0.999"),
        ["post", "prediction", "skewness", "above", "'nul0.999'"],
    ),
    "quantile out of range": (
        set_at(*POST, "prediction", "skewness", "above", value="q90"),
        ["post", "prediction", "skewness", "above", "q90", "0 and 1"],
    ),
    "unknown column": (
        set_at(*POST, "prediction", value={"skew": {"above": 0}}),
        ["post", "prediction", "'skew'", "skewness"],
    ),
    "unknown type": (set_at(*POST, "predict", value={}), ["post", "'predict'", "prediction"]),
    **{
        f"{'.'.join(place)}: {value!r}"[:60]: (set_at(*place, value=value), [".".join(place), *parts])
        for place, value, parts in VALUES
    },
    **{
        f"bound {bound}": (
            set_at(*POST, "prediction", value={"skewness": bound}),
            ["types.schemes", "post", "prediction", "skewness", *parts],
        )
        for bound, parts in BOUNDS
    },
    "no bounds": (set_at(*POST, "prediction", value={}), ["post", "prediction", "at least one"]),
    "no types": (set_at(*POST, value={}), ["types.schemes.post.types", "at least one"]),
    "level out of range": (
        set_at(*CALIBRATED, "level", value=0.7),
        ["types.schemes.calibrated.level", "0.7"],
    ),
    "level is text": (set_at(*CALIBRATED, "level", value="5%"), ["types.schemes.calibrated.level", "number"]),
    "no tokens": (set_at(*CALIBRATED, "tail_tokens", value=0), ["types.schemes.calibrated.tail_tokens", "0"]),
    "unknown setting of tails": (
        set_at(*CALIBRATED, "levl", value=0.1),
        ["types.schemes.calibrated", "unknown key 'levl'", "did you mean 'level'?"],
    ),
    "missing setting of tails": (
        lambda config: config["types"]["schemes"]["calibrated"].pop("share"),
        ["types.schemes.calibrated", "'share'"],
    ),
    "a kind that is no null": (
        set_at("nulls", "kinds", value=["isotropic", "activations"]),
        ["nulls.kinds", "'activations'", "isotropic, second_moment, spectrum, sign_flip"],
    ),
    "no schemes": (set_at("types", "schemes", value={}), ["types.schemes", "at least one"]),
    "studies that differ in capitals": (
        lambda config: config["studies"].update(Mini=config["studies"]["mini"]),
        ["studies", "'mini' and 'Mini'", "rename"],
    ),
    "views that differ in capitals": (
        lambda config: config["views"].update(MAIN=config["views"]["main"]),
        ["views", "'main' and 'MAIN'"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_with_its_place_and_the_choices(fault: str) -> None:
    change, parts = FAULTS[fault]
    config = copy.deepcopy(CONFIG)
    change(config)
    with pytest.raises(FsrlError) as error:
        settings.check(config, SCHEMA)
    message = str(error.value)
    assert message.startswith("config: ") and "\n" not in message
    assert [part for part in parts if part not in message] == [], message


def study(folder: Path, **changes: Any) -> studies.Study:
    entry = tiny.config("tiny")["studies"]["tiny"] | {
        "token_counts": f"{folder}/tiny/token_counts.safetensors"
    }
    entry |= {"model": {"folder": f"{folder}/tiny/model"}, "saes": {"folder": f"{folder}/tiny/saes"}}
    return studies.resolve("tiny", CONFIG | {"studies": {"tiny": entry | changes}})


def test_weight_files_are_all_that_is_read(tiny_study: Path) -> None:
    found = study(tiny_study.parent).local_files()
    others = ("config.yaml", "evaluation_text.txt")
    made = [str(path) for path in tiny_study.rglob("*") if path.is_file() and path.name not in others]
    assert found == sorted(made)


@pytest.mark.parametrize(
    "name",
    [
        "model/tokenizer.json",
        "saes/blocks.0.hook_resid_pre/sae_weights.safetensors",
        "token_counts.safetensors",
    ],
)
def test_a_missing_weight_file_is_named(fresh: Project, tmp_path: Path, name: str) -> None:
    project = fresh.copy(tmp_path / "project")
    (project.folder / "tiny" / name).unlink()
    with pytest.raises(FsrlError, match=f"config: studies.tiny.*{name} is missing"):
        study(project.folder).local_files()


def test_an_unknown_sae_is_named_with_those_that_are_there(tiny_study: Path) -> None:
    folder = tiny_study.parent
    entry = study(folder, saes={"folder": f"{folder}/tiny/saes", "ids": ["blocks.0.hook_resid_post"]})
    with pytest.raises(FsrlError, match=r"studies.tiny.saes: unknown SAE .*blocks.1.hook_resid_post"):
        entry.local_files()


NONSENSE = {
    "no model": ({"model": {}}, r"studies.tiny.model: .*either hub .* or folder"),
    "two models": (
        {"model": {"hub": "gpt2", "folder": "x"}},
        r"studies.tiny.model: .*either hub .* or folder",
    ),
    "revision of a folder": (
        {"model": {"folder": "x", "revision": "main"}},
        "studies.tiny.model: .*no revision",
    ),
    "no SAEs": ({"saes": {}}, "studies.tiny.saes: .*exactly one of release, folder and neurons"),
    "two kinds of SAEs": ({"saes": {"folder": "x", "neurons": 2}}, "studies.tiny.saes: .*exactly one of"),
    "revision of neurons": ({"saes": {"neurons": 2, "revision": "v1"}}, "only a release has a revision"),
    "unknown release": (
        {"saes": {"release": "gpt2-small-res-bj"}},
        r"studies.tiny.saes: unknown release 'gpt2-small-res-bj'; did you mean 'gpt2-small-res-jb'\?",
    ),
    "unknown SAE of a release": (
        {"saes": {"release": "gpt2-small-res-jb", "ids": ["blocks.12.hook_resid_pre"]}},
        r"release gpt2-small-res-jb: unknown SAE 'blocks.12.*known: blocks.0.hook_resid_pre",
    ),
    "a layer of a cross-layer transcoder": (
        {"saes": {"release": "mntss-gemma-2-2b-2.5m-clt-as-per-layer", "ids": ["layer_3"]}},
        "saes: release .*: unknown SAE 'layer_3'; did you mean 'layer_3_to_",
    ),
    "repository without ids": ({"saes": {"release": "me/my-saes"}}, "name its folders under ids"),
    "revision that leads elsewhere": (
        {"model": {"hub": "gpt2", "revision": "../../x"}},
        r"studies.tiny.model: gpt2: '../../x' is no name of a revision there",
    ),
    "release's revision that leads elsewhere": (
        {"saes": {"release": "gpt2-small-res-jb", "revision": "/tmp/x"}},
        r"studies.tiny.saes: .*'/tmp/x' is no name of a revision there",
    ),
    "empty folder": ({"saes": {"folder": "elsewhere"}}, "elsewhere holds no folder with cfg.json"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_a_source_that_makes_no_sense_is_refused_with_its_place(tiny_study: Path, case: str) -> None:
    changes, message = NONSENSE[case]
    with pytest.raises(FsrlError, match=message):
        study(tiny_study.parent, **changes)


def test_sets_may_name_tokens_that_were_added_to_the_vocabulary(tiny_study: Path, tmp_path: Path) -> None:
    place = shutil.copytree(tiny_study, tmp_path / "tiny")
    tokenizer = Tokenizer.from_file(str(place / "model/tokenizer.json"))
    tokenizer.add_tokens(["café"])
    tokenizer.save(str(place / "model/tokenizer.json"))
    for word, there in (("café", True), ("thé", False)):
        extra = {"extra": {"drinks": {"words": [word]}}}
        config = CONFIG | {"token_sets": extra, "nulls": CONFIG["nulls"] | {"context": 16}}
        config["effects"] = CONFIG["effects"] | {"context": 16}
        if there:
            studies.check(study(tmp_path), config)
            continue
        with pytest.raises(FsrlError, match=r"token_sets.extra .study tiny.: token set drinks: none of"):
            studies.check(study(tmp_path), config)


def test_the_own_study_of_the_documentation_is_one() -> None:
    [block] = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/how-to/own-sae.md").read_text(), re.DOTALL)
    entries = yaml.safe_load(block)
    config = CONFIG | {"studies": CONFIG["studies"] | entries, "run": ["my-study"]}
    settings.check(config, SCHEMA)
    assert len(studies.resolve("my-study", config).sae_ids) == 13


def test_a_study_that_says_nothing_gets_the_defaults() -> None:
    entry = {"model": {"hub": "gpt2"}, "saes": {"release": "gpt2-small-res-jb"}}
    resolved = studies.resolve("mine", CONFIG | {"studies": {"mine": entry}})
    defaults = CONFIG["study_defaults"]
    assert (resolved.title, resolved.token_counts) == ("mine", None)
    assert (resolved.views, resolved.figure_views) == (defaults["views"], defaults["figure_views"])
    assert len(resolved.sae_ids) == 13


THRESHOLD = "types={schemes: {new: {view: trained, types: {prediction: {skewness: {above: x}}}}}}"
ELSEWHERE = "elsewhere holds no folder with cfg.json"


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("stduy=tiny", ["'stduy'", "did you mean 'study'?"]),
        (
            "study=tinny",
            ["study", "'tinny'", "did you mean 'tiny'?", "known: tiny, mini, mini-neurons, mini-runs"],
        ),
        (THRESHOLD, ["scheme new", "prediction", "skewness", "above", "'x'"]),
        ("studies={tiny: {saes: {folder: elsewhere}}}", ["studies.tiny.saes", ELSEWHERE]),
    ],
    ids=["unknown key", "unknown study", "malformed threshold", "missing weights"],
)
def test_snakemake_stops_with_one_line_and_writes_nothing(
    fresh: Project, tmp_path: Path, setting: str, parts: list[str]
) -> None:
    project = fresh.copy(tmp_path / "project")
    done = project.without_jobs("--config", setting)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if "rror" in line] == [done.stderr.splitlines()[-1]]
    assert [part for part in parts if part not in done.stderr.splitlines()[-1]] == [], done.stderr
    assert not any((project.folder / made).exists() for made in ("results", "figures", "logs"))


def test_the_lens_of_a_view_is_looked_for_in_the_lists_of_its_repository(tmp_path: Path) -> None:
    config = copy.deepcopy(CONFIG)
    config["studies"]["gpt2-small"] |= {"views": ["trained", "cosine", "lens"], "figure_views": ["trained"]}
    settings.check(config, SCHEMA)
    [file] = studies.resolve("gpt2-small", config).lenses["lens"].hub_files()
    assert file.repo == "neuronpedia/jacobian-lens" and file.path.startswith("gpt2-small/")
    config["studies"]["mini"]["views"] = ["trained", "cosine", "lens"]
    with pytest.raises(FsrlError) as error:
        studies.resolve("mini", config)
    assert "config: views.lens.transport (study mini): lens: neuronpedia/jacobian-lens has" in str(
        error.value
    )
    # A layer's null directions are its own there: without other kinds there is no view.
    config["nulls"]["kinds"] = ["isotropic"]
    assert studies.resolve("mini", config).lenses == {}
