"""With `device: cuda` every heavy stage's script puts its work on the GPU, here on the pretend one."""

from collections import Counter

import pandas as pd
import pyarrow.parquet as pq
import pytest

from fsrl.errors import FsrlError
from fsrl.models import dictionaries, reading
from fsrl.models.sources import ModelSource, SAESource
from fsrl.tables import core as tables
from fsrl.weights import covariances, matrices, transport
from tests.fixtures.heavy_scripts import Stages
from tests.fixtures.moment_examples import RATIOS
from tests.fixtures.pretend_cuda import pretend_cuda
from tests.fixtures.project import ROOT

HEAVY = (
    "export_model",
    "compute_null_moments",
    "measure_activation_covariances",
    "fit_transport",
    "compute_layer_nulls",
    "compute_moments",
    "test_enrichment",
    "null_p_values",
    "summarise_enrichment",
    "measure_effects",
    "measure_steering",
    "compare_directions",
    "find_contexts",
    "recover_planted_types",
    "measure_ablations",
)
# What reads their tables in between; it has no device.
LIGHT = {"export_model": "export_weights", "compute_moments": "types"}
# Reading a model looks at its logits of a few tokens, and reading SAEs at what they decode, on the CPU.
READING = ("export_model", "fit_transport", "measure_effects", "measure_steering", "find_contexts")
COMPARED = {"null": 1e-4, "moments": 1e-4, "enrichment": 1e-3, "best_sets": 1e-3}


def run_all(study, folder, device):
    """Every heavy stage in turn, beside a pretend GPU, and what each computes on the CPU."""
    stages, left = Stages(study, folder, device), {}
    with pretend_cuda() as pretended:
        model = reading.read_model(ModelSource(**stages.source["model"]))
        list(dictionaries.decoders(SAESource.from_settings(stages.source["saes"]), model, study="tiny"))
        look = Counter(pretended.left)
        for stage in HEAVY:
            pretended.left.clear()
            getattr(stages, stage)()
            left[stage] = dict(pretended.left - look if stage in READING else pretended.left)
            if stage in LIGHT:
                getattr(stages, LIGHT[stage])()
    return stages, left


@pytest.fixture(scope="module")
def runs(tiny_study, tmp_path_factory):
    """The stages, and what each left on the CPU, by device."""
    return {
        device: run_all(tiny_study, tmp_path_factory.mktemp(device), device) for device in ("cpu", "cuda")
    }


@pytest.fixture(scope="module")
def both(runs):
    """The stages on the CPU and on the GPU."""
    return runs["cpu"][0], runs["cuda"][0]


@pytest.mark.parametrize("stage", HEAVY)
def test_no_product_is_left_on_the_cpu(runs, stage):
    assert runs["cuda"][1][stage] == {}
    # The check can fail: on a CPU every stage has products.
    assert runs["cpu"][1][stage] != {}


@pytest.mark.parametrize("name", COMPARED)
def test_the_tables_are_those_of_the_cpu(both, name):
    here, there = both
    paths = [path.relative_to(here.folder) for path in here.folder.rglob(f"{name}.parquet")]
    assert len(paths) in (2, 8)
    for path in paths:
        expected, found = (pq.read_table(stages.folder / path).to_pandas() for stages in (here, there))
        kept = [column for column in expected if column not in RATIOS]
        pd.testing.assert_frame_equal(found[kept], expected[kept], rtol=COMPARED[name], atol=COMPARED[name])


def test_tables_say_what_they_were_computed_on(both):
    for stages, device, precision in zip(both, ("cpu", "cuda"), ("fp32", "split"), strict=True):
        paths = [path for name in COMPARED for path in stages.folder.rglob(f"{name}.parquet")]
        paths += [stages.nulls()[0], *stages.folder.rglob("effects.parquet")]
        paths += stages.folder.rglob("steering.parquet")
        paths += [
            stages.folder / name
            for name in ("null_p_values", "null_discoveries", "recovery", "by_set", "ablations")
        ]
        said = [tables.read_metadata(path) for path in paths]
        said.append(covariances.read(stages.folder / "activations").metadata)
        said.append(transport.read(stages.folder / "transport").metadata)
        assert {metadata["device"] for metadata in said} == {device}
        assert all(metadata["device_name"] for metadata in said)
        if device == "cuda":
            assert {metadata["device_name"] for metadata in said} == {"pretended"}
        assert matrices.read_unembedding(stages.unembedding).metadata["trained_tokens_device"] == device
        (moments,) = {tables.read_metadata(path)["precision"] for path in stages.table("moments")}
        assert moments == precision


def test_every_script_with_a_device_is_checked_here():
    scripts = (ROOT / "workflow/scripts").glob("*.py")
    with_device = [path.stem for path in scripts if "import devices" in path.read_text()]
    # Effects, steering and contexts pick their device in the library, with what follows from it.
    assert {*with_device, "measure_effects", "measure_steering", "find_contexts"} == set(HEAVY)


def test_without_a_gpu_cuda_is_one_line(tiny_study, tmp_path):
    with pytest.raises(FsrlError, match="device is cuda, but Torch can use no GPU here .*; use auto or cpu"):
        Stages(tiny_study, tmp_path, "cuda").compute_null_moments()
