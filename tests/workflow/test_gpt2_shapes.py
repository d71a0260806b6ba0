"""The study of random weights in GPT-2's shapes can't be taken for GPT-2's: its commands say what it is."""

import copy
import re
import shlex

import pytest
import yaml
from snakemake.cli import parse_args, parse_config
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from tests.fixtures.project import ROOT
from workflow import settings, studies

CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())
README = (ROOT / "benchmarks/README.md").read_text()
SCRIPT = (ROOT / "benchmarks/gpt2_shapes.py").read_text()


def commands(text: str) -> list[str]:
    """The commands that build what the script wrote, without their variables."""
    joined = text.replace("\\\n", " ")
    return [found.strip().strip('"') for found in re.findall(r"snakemake --cores 2 .*gpt2_shapes.*", joined)]


@pytest.mark.parametrize("command", [*commands(README), *commands(SCRIPT)])
def test_the_study_is_named_for_what_it_is(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    _, options = parse_args(shlex.split(command)[1:])
    config = copy.deepcopy(CONFIG)
    for path in options.configfile:
        update_config(config, load_configfile(path))
    update_config(config, parse_config(options.config))
    settings.check(config, ROOT / "workflow/schemas/config.schema.yaml")
    [name] = settings.studies(config)
    study = studies.resolve(name, config)
    assert name not in CONFIG["studies"] and "random" in name and "Random weights" in study.title
    assert config["explanations"] == CONFIG["explanations"] | {"fetch": "never"}
    assert config["nulls"] in (CONFIG["nulls"], CONFIG["nulls"] | {"kinds": ["isotropic"]})
    true = studies.resolve("gpt2-small", CONFIG)
    more = ("transported",) if any("transported" in str(path) for path in options.configfile) else ()
    assert (study.model, study.saes) == (true.model, true.saes)
    assert tuple(study.views) == (*true.views, *more)
    assert all(config["views"][view]["transport"] == "same_position" for view in more)


def test_every_command_is_looked_at() -> None:
    assert len(commands(README)) == 2 and len(commands(SCRIPT)) == 2
    assert sum("transported" in command for command in commands(README)) == 1
    assert "study=gpt2-small" not in README + SCRIPT
