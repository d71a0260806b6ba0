"""The workflow as Snakemake's catalog finds it."""

import yaml

from tests.fixtures.project import ROOT, Project, planned


def test_the_catalog_s_snakefile_plans_what_the_root_s_plans(fresh: Project) -> None:
    theirs = planned(fresh.without_jobs("--dry-run", "--snakefile", "workflow/Snakefile"))
    assert theirs == fresh.plan() and theirs["write_paper_index"] == 1


def test_what_the_catalog_asks_for_is_there() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage["software-stack-deployment"].values()) == {False} and usage["report"] is True
    text = (ROOT / "config/README.md").read_text()
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    rows = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    named = {name.strip(" `") for row in rows for name in row.split(",")}
    assert named and named <= config.keys()
