"""The workflow end to end on the tiny study: what it builds, builds again, and what a crash leaves."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from fsrl import machine
from fsrl.latex import document as tex_document
from tests.fixtures.project import Project, environment
from tests.fixtures.tiny_study import SAE_IDS
from workflow import settings

VIEWS = ("main", "trained", "cosine")
LAYER_TABLES = (
    "moments",
    "extremes",
    "histograms",
    "null",
    "null_quantiles",
    "fresh_null",
    "axis_share",
    "types",
    "tails",
    "tail_calibration",
    "type_counts",
    "type_null_counts",
    "thresholds",
)
# Of the views with enrichment: trained alone.
EVIDENCE_TABLES = ("enrichment", "best_sets", "scores", "odds_ratios", "splits")
STUDY_EVIDENCE = (
    "token_sets.parquet",
    "token_set_list.tsv",
    "discoveries/trained.parquet",
    "null_p_values/trained.parquet",
    "null_p_values/trained_discoveries.parquet",
    "null_p_values/trained_level.parquet",
    "set_coverage/trained.parquet",
    "claims/trained.parquet",
    "claims/trained_dips.parquet",
    "claims/trained_summary.parquet",
    "claims/trained.tsv",
)
# Local ones, since nobody hosts the tiny study.
EXPLANATIONS = (*(f"{sae}.parquet" for sae in SAE_IDS), "words.parquet", "words.tsv")
SENSITIVITY = ("trained", "trained_agreement", "trained_stability")
EFFECT_SUMMARIES = (
    "summary.parquet",
    "summary.tsv",
    "retention.parquet",
    "by_hook.parquet",
    "by_hook.tsv",
)
STEERING = ("steering", "next_token", "paths", "confidence")
EFFECT_FIGURES = ("agreement", "agreement_by_type", "moments", "retention")
LATEX_TABLES = (
    "agreement",
    "claims",
    "claims_by_scheme",
    "confidence",
    "effects",
    "effects_by_type",
    "effects_by_hook",
    "exemplars",
    "moments_by_layer",
    "next_token",
    "numbers",
    "paths",
    "sensitivity",
    "set_coverage",
    "steering",
    "studies",
    "tail_calibration",
    "type_overlap",
    "types_by_layer",
)
# The PDF only where there is LaTeX; the rest of the paper everywhere.
PDF = {} if tex_document.missing_programs() else {"compile_paper_pdf": 1}
INDEX = {"write_paper_numbers": 1, "write_paper_index": 1, **PDF}
# It joins what others draw: types in the plane, tests where there is nothing to find, agreement.
HEADLINE = {"draw_headline": 1}
FIGURES_OF_ALL_LAYERS = {"draw_study_figures": 1, "draw_effect_figures": 1, "draw_evidence_figures": 1}
FIGURES = {"draw_layer_figures_tiny": len(SAE_IDS), **FIGURES_OF_ALL_LAYERS, **HEADLINE}
AFTER_SENSITIVITY = {
    "measure_sensitivity": 1,
    "write_latex_sensitivity": 1,
    "draw_evidence_figures": 1,
    **INDEX,
}
AFTER_CLAIMS = {"test_claims": 1, "write_latex_claims": 1, **INDEX}
AFTER_ENRICHMENT = {
    "summarise_enrichment_tiny": 1,
    "write_latex_coverage": 1,
    "explain_features_tiny": len(SAE_IDS),
    "count_explanation_words": 1,
    # Their exemplars stand beside explanations.
    "write_latex_study": 1,
    **AFTER_CLAIMS,
    **AFTER_SENSITIVITY,
}
AFTER_EFFECTS = {
    "effect_summary": 1,
    "draw_effect_figures": 1,
    "write_latex_effects": 1,
    **HEADLINE,
    **INDEX,
}
AFTER_STEERING = {
    "summarise_steering": 1,
    "write_latex_steering": 1,
    **({"compile_paper_pdf": 1} if PDF else {}),
}
AFTER_TYPES = {
    "summarise_types": 1,
    "measure_effects_tiny": 1,
    "measure_steering_tiny": 1,
    **AFTER_STEERING,
    **FIGURES,
    **AFTER_EFFECTS,
    **AFTER_ENRICHMENT,
}
# What makes tables of moments; the model's undertrained tokens are found by those of random directions.
OF_MOMENTS = {
    "export_model": 1,
    "compute_null_moments_tiny-model": 1,
    "compute_layer_nulls_tiny": 2,
    "compute_moments_tiny": 2,
    "measure_axis_shares_tiny": 1,
    "find_token_sets": 1,
    "test_enrichment_tiny": 2,
    "null_p_values": 1,
}
LAYER_FIGURES = ("skewness", "kurtosis", "skewness_vs_kurtosis", "types", "evidence", "exemplars")
STUDY_FIGURES = ("headline", "layers_grid", "moments_by_layer", "nulls_by_layer", "type_shares")
EVIDENCE_FIGURES = ("enrichment_heatmap", "manhattan", "null_p_values", "set_coverage", "sensitivity")
EVIDENCE_FIGURES += tuple(f"splits/{sae}" for sae in SAE_IDS)


def expected_outputs() -> set[str]:
    layers = {
        f"results/tiny/{sae}/{view}/{table}.parquet"
        for sae in SAE_IDS
        for view in VIEWS
        for table in LAYER_TABLES
    }
    weights = {
        "results/models/tiny-model/unembedding.safetensors",
        "results/models/tiny-model/tokens.parquet",
        "results/tiny/activations.safetensors",
    }
    decoders = {f"results/tiny/{sae}/decoder.safetensors" for sae in SAE_IDS}
    decoders |= {f"results/tiny/{sae}/clusters.parquet" for sae in SAE_IDS}
    nulls = {
        f"results/models/tiny-model/{name}/{view}.parquet"
        for view in VIEWS
        for name in ("nulls", "null_quantiles", "fresh_nulls")
    }
    stems = {f"{sae}/{figure}" for sae in SAE_IDS for figure in LAYER_FIGURES}
    stems |= {*STUDY_FIGURES, *EVIDENCE_FIGURES}
    figures = {f"figures/tiny/trained/{stem}.{format}" for stem in stems for format in ("pdf", "png")}
    summaries = {"results/tiny/summary/trained.tsv"}
    evidence = {f"results/tiny/{sae}/trained/{table}.parquet" for sae in SAE_IDS for table in EVIDENCE_TABLES}
    evidence |= {f"results/tiny/{name}" for name in STUDY_EVIDENCE}
    evidence |= {f"results/tiny/explanations/{name}" for name in EXPLANATIONS}
    evidence |= {f"results/tiny/sensitivity/{name}.parquet" for name in SENSITIVITY}
    evidence |= {
        f"results/tiny/{sae}/trained/{table}.parquet"
        for sae in SAE_IDS
        for table in ("effects", "agreement", "peaks")
    }
    evidence |= {f"results/tiny/summary/effects_{name}" for name in EFFECT_SUMMARIES}
    evidence |= {f"results/tiny/{sae}/{name}.parquet" for sae in SAE_IDS for name in STEERING}
    evidence |= {f"results/tiny/summary/{name}.parquet" for name in STEERING[:2]}
    figures |= {
        f"figures/tiny/effects/{name}.{format}" for name in EFFECT_FIGURES for format in ("pdf", "png")
    }
    paper = {f"paper/generated/tiny/{name}.tex" for name in LATEX_TABLES}
    paper |= {f"paper/generated/{name}.tex" for name in ("compute", "numbers", "speed", "studies_built")}
    paper |= {"paper/main.pdf"} if PDF else set()
    return layers | weights | decoders | nulls | summaries | figures | evidence | paper


def test_every_table_and_figure_is_built_and_nothing_else(built: Project) -> None:
    assert set(built.outputs()) == expected_outputs()


def test_every_job_has_a_log_and_a_benchmark(built: Project) -> None:
    # Model, weights, activations, axes, nulls, clusters; moments, layer nulls, types in all views, figures;
    # summary and its figures.
    jobs = 6 + 4 * len(SAE_IDS) + 2
    # Token sets, p under nulls; enrichment by layer; that of the study, claims, sensitivity, their figures.
    jobs += 2 + len(SAE_IDS) + 4
    jobs += 3  # effects, their summary and figures
    jobs += 3 + 1  # steering, its summary and tables; confidence
    jobs += len(SAE_IDS) + 1  # explanations and their words
    jobs += 1  # the headline
    jobs += 5 + 1  # LaTeX tables: study, claims, set coverage, sensitivity, effects; speed
    jobs += len(INDEX)
    assert len(list((built.folder / "logs").rglob("*.log"))) == jobs
    assert len(list((built.folder / "results/benchmarks").rglob("*.tsv"))) == jobs


def test_no_job_uses_more_threads_than_there_are_cores(built: Project) -> None:
    cores = machine.cores()
    caps = [
        int(line.split()[-2])
        for log in (built.folder / "logs").rglob("*.log")
        for line in log.read_text().splitlines()
        if "joblog: at most" in line
    ]
    assert len(caps) == len(list((built.folder / "logs").rglob("*.log")))
    assert max(caps) <= cores


def test_no_sae_and_no_view_can_be_called_as_another_folder_of_results(built: Project) -> None:
    folders = {path.name for path in (built.folder / "results/tiny").iterdir() if path.is_dir()}
    assert folders - set(SAE_IDS) <= set(settings.BESIDE_SAES)
    schema = yaml.safe_load((built.folder / "workflow/schemas/config.schema.yaml").read_text())
    beside_views = schema["properties"]["views"]["propertyNames"]["not"]["enum"]
    folders = {path.name for path in (built.folder / "figures/tiny").iterdir() if path.is_dir()}
    assert folders - set(VIEWS) <= set(beside_views)


def test_a_second_run_does_nothing(built: Project) -> None:
    before = {
        path: path.stat().st_mtime_ns for path in built.folder.rglob("*") if ".snakemake" not in path.parts
    }
    done = built.snakemake()
    assert "Nothing to be done" in done.stderr
    after = {
        path: path.stat().st_mtime_ns for path in built.folder.rglob("*") if ".snakemake" not in path.parts
    }
    assert after == before


@pytest.mark.parametrize(
    ("module", "jobs"),
    [
        # How figures look decides figures and the PDF, and nothing else.
        ("figures/paper.mplstyle", FIGURES | PDF),
        ("figures/style.py", FIGURES | PDF),
        ("figures/layer.py", {"draw_layer_figures_tiny": len(SAE_IDS), **PDF}),
        ("figures/layers.py", {"draw_study_figures": 1, **HEADLINE, **PDF}),
        ("figures/enrichment.py", {"draw_evidence_figures": 1, **HEADLINE, **PDF}),
        ("figures/effects.py", {"draw_effect_figures": 1, **HEADLINE, **PDF}),
        # Enrichment decides no moments, nulls, types or effects.
        (
            "enrichment/statistics.py",
            {"test_enrichment_tiny": 2, "null_p_values": 1, **HEADLINE, **AFTER_ENRICHMENT},
        ),
        ("enrichment/calibration.py", {"null_p_values": 1, **HEADLINE, **AFTER_ENRICHMENT}),
        ("enrichment/scores.py", AFTER_ENRICHMENT),
        # The engine decides no measured effect but through the types.
        (
            "moments/frames.py",
            {**OF_MOMENTS, "assign_types_tiny": 2, "measure_confidence_tiny": 1, **AFTER_TYPES},
        ),
        ("types/classify.py", {"assign_types_tiny": 2, **AFTER_TYPES}),
        ("types/summary.py", {"summarise_types": 1, **INDEX}),
        ("claims/claims_list.py", AFTER_CLAIMS),
        ("claims/sensitivity.py", AFTER_SENSITIVITY),
        ("effects/summary.py", AFTER_EFFECTS),
        ("explanations/words.py", {"count_explanation_words": 1}),
        ("latex/types.py", {"write_latex_study": 1, **PDF}),
        ("numbers/evidence.py", {"write_paper_numbers": 1, "write_paper_index": 1, **PDF}),
        (
            "tokens/word_lists/colour.txt",
            {
                "find_token_sets": 1,
                "test_enrichment_tiny": 2,
                "null_p_values": 1,
                **HEADLINE,
                **AFTER_ENRICHMENT,
            },
        ),
    ],
)
def test_editing_a_library_module_reruns_what_depends_on_it(
    built: Project, tmp_path: Path, module: str, jobs: dict[str, int]
) -> None:
    project = built.copy(tmp_path / "project")
    with (project.folder / "src/fsrl" / module).open("a") as file:
        file.write("\n# edited\n")
    assert project.plan() == jobs


def test_a_new_version_number_and_other_docstrings_rerun_nothing(built: Project, tmp_path: Path) -> None:
    """Nobody prints the one, and rooms hold docstrings alone."""
    project = built.copy(tmp_path / "project")
    (project.folder / "src/fsrl/_version.py").write_text('__version__ = "9.9.9"\n')
    for face in ("moments/__init__.py", "__init__.py"):
        with (project.folder / "src/fsrl" / face).open("a") as file:
            file.write("\n# edited\n")
    assert project.plan() == {}


def test_a_bare_touch_reruns_nothing(built: Project, tmp_path: Path) -> None:
    project = built.copy(tmp_path / "project")
    for folder in ("src", "workflow", "config", "tiny", "results"):
        for path in (project.folder / folder).rglob("*"):
            path.touch()
    assert project.plan() == {}


def test_editing_a_script_or_a_setting_reruns_its_jobs(built: Project, tmp_path: Path) -> None:
    project = built.copy(tmp_path / "project")
    with (project.folder / "workflow/scripts/draw_study_figures.py").open("a") as file:
        file.write("\n# edited\n")
    assert project.plan() == {"draw_study_figures": 1, **PDF}
    config = project.folder / "config/config.yaml"
    config.write_text(config.read_text().replace("default_scheme: calibrated", "default_scheme: post"))
    assert project.plan() == AFTER_TYPES


def test_a_deleted_table_is_rebuilt_and_nothing_else(built: Project, tmp_path: Path) -> None:
    project = built.copy(tmp_path / "project")
    before = project.outputs()
    times = {name: (project.folder / name).stat().st_mtime_ns for name in before}
    # One job compares types in all views, and writes all tables of it.
    (project.folder / f"results/tiny/sensitivity/{SENSITIVITY[0]}.parquet").unlink()
    # Jobs as processes of their own give the bytes that forks gave.
    done = project.really_snakemake()
    assert done.returncode == 0, done.stderr
    assert project.outputs() == before
    changed = {name for name in before if (project.folder / name).stat().st_mtime_ns != times[name]}
    # The paper speaks of that.
    generated = ("numbers", "studies_built", "tiny/numbers", "tiny/sensitivity", "tiny/agreement")
    compared = {f"paper/generated/{name}.tex" for name in generated} | ({"paper/main.pdf"} if PDF else set())
    compared |= {f"results/tiny/sensitivity/{name}.parquet" for name in SENSITIVITY}
    # Their job writes all of what is drawn from the comparison.
    compared |= {
        f"figures/tiny/trained/{figure}.{format}" for figure in EVIDENCE_FIGURES for format in ("pdf", "png")
    }
    assert changed == compared


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [True, False], ids=["all processes", "only snakemake"])
def test_after_kill_9_the_same_command_gives_the_same_bytes(
    built: Project, tmp_path: Path, whole_group: bool
) -> None:
    project = built.copy(tmp_path / "project")
    before = project.outputs()
    (project.folder / "results/models/tiny-model/nulls/main.parquet").unlink()
    for table in (project.folder / "results/tiny").glob("*/main/*.parquet"):
        table.unlink()
    logs = [project.folder / f"logs/tiny/{sae}/compute_moments.log" for sae in SAE_IDS]
    for log in logs:
        log.unlink()
    with subprocess.Popen(
        project.command(),
        cwd=project.folder,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while not any(log.exists() for log in logs):
            assert process.poll() is None
            time.sleep(0.01)
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
    assert project.outputs() != before
    done = project.really_snakemake()
    assert done.returncode == 0, done.stderr
    after = project.outputs()
    assert {name: after[name] for name in before} == before
    assert project.plan() == {}


@pytest.mark.slow
def test_another_build_gives_the_same_bytes(built: Project, fresh: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "elsewhere")
    done = project.really_snakemake()
    assert done.returncode == 0, done.stderr
    before, after = built.outputs(), project.outputs()
    assert after.keys() == before.keys()
    assert [name for name in before if before[name] != after[name]] == []
