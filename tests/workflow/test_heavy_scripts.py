"""With `device: cuda` every heavy stage's script puts its work on the GPU: the pretend one, or a true one."""

from collections import Counter

import pyarrow.parquet as pq
import pytest
import torch

from fsrl import devices
from fsrl.errors import FsrlError
from fsrl.models import dictionaries, reading
from fsrl.models.sources import ModelSource, SAESource
from fsrl.moments import products
from fsrl.tables import core as tables
from fsrl.weights import covariances, matrices, transport
from tests.fixtures.heavy_scripts import Stages
from tests.fixtures.moment_examples import RATIOS
from tests.fixtures.pretend_cuda import FACTOR, IS_TRUE, assert_tables_alike, only_pretended, pretend_cuda
from tests.fixtures.project import ROOT

HEAVY = (
    "export_model",
    "cluster_features",
    "compute_null_moments",
    "measure_activation_covariances",
    "fit_transport",
    "measure_axis_shares",
    "compute_layer_nulls",
    "compute_moments",
    "test_enrichment",
    "null_p_values",
    "summarise_enrichment",
    "measure_effects",
    "measure_steering",
    "measure_confidence",
    "compare_directions",
    "find_contexts",
    "recover_planted_types",
    "measure_ablations",
)
# What reads their tables in between; it has no device.
LIGHT = {"export_model": "export_weights", "compute_moments": "types"}
# Reading a model looks at its logits of a few tokens, and reading SAEs at what they decode, on the CPU.
READING = ("export_model", "fit_transport", "measure_effects", "measure_steering", "find_contexts")
# How close a GPU's tables are to the CPU's, and its matrices.
COMPARED = {
    "null": 1e-4,
    "nulls/*": 1e-4,
    "moments": 1e-4,
    "axis_share": 1e-4,
    "enrichment": 1e-3,
    "best_sets": 1e-3,
    "effects": 1e-3,
    "agreement": 1e-3,
    "peaks": 1e-3,
    "steering": 1e-3,
    "next_token": 1e-3,
    "paths": 1e-3,
    "confidence": 1e-4,
}
MATRICES = {"transport": (transport.read, "T"), "activations": (covariances.read, "covariance")}


def run_all(study, folder, device, into=None):
    """Every heavy stage in turn, beside a GPU, and what each computes on the CPU."""
    stages, left = Stages(study, folder, device, into), {}
    with pretend_cuda() as pretended:
        model = reading.read_model(ModelSource(**stages.source["model"]))
        list(dictionaries.decoders(SAESource.from_settings(stages.source["saes"]), model, study="tiny"))
        look = Counter(pretended.left)
        for stage in HEAVY:
            pretended.left.clear()
            getattr(stages, stage)()
            left[stage] = dict(pretended.left - look if stage in READING else pretended.left)
            if stage in LIGHT and into is None:
                getattr(stages, LIGHT[stage])()
    return stages, left


@pytest.fixture(scope="module")
def runs(tiny_study, tmp_path_factory):
    """The stages, and what each left on the CPU, by device; a stage on the GPU reads what the CPU's wrote."""
    here, there = (tmp_path_factory.mktemp(device) for device in ("cpu", "cuda"))
    return {"cpu": run_all(tiny_study, here, "cpu"), "cuda": run_all(tiny_study, here, "cuda", there)}


@pytest.fixture(scope="module")
def both(runs):
    """The stages on the CPU and on the GPU."""
    return runs["cpu"][0], runs["cuda"][0]


@only_pretended
@pytest.mark.parametrize("stage", HEAVY)
def test_cuda_leaves_no_product_on_the_cpu(runs, stage):
    assert runs["cuda"][1][stage] == {}
    # The check can fail: on a CPU every stage has products.
    assert runs["cpu"][1][stage] != {}


@pytest.mark.parametrize("name", COMPARED)
def test_cuda_gives_the_tables_of_the_cpu(both, name):
    here, there = both
    paths = [path.relative_to(here.into) for path in here.into.rglob(f"{name}.parquet")]
    assert len(paths) in (2, 4, 8)
    for path in paths:
        expected, found = (pq.read_table(stages.into / path).to_pandas() for stages in (here, there))
        kept = [column for column in expected if column not in RATIOS]
        tolerance = COMPARED[name]
        assert_tables_alike(found[kept], expected[kept], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", MATRICES)
def test_cuda_gives_the_matrices_of_the_cpu(both, name):
    read, matrix = MATRICES[name]
    expected, found = (getattr(read(stages.into / name), matrix) for stages in both)
    torch.testing.assert_close(found, expected, rtol=FACTOR * 1e-3, atol=FACTOR * 1e-4)


def test_cuda_and_cpu_stand_in_the_tables(both):
    for stages, device in zip(both, ("cpu", "cuda"), strict=True):
        paths = [path for name in COMPARED for path in stages.into.rglob(f"{name}.parquet")]
        paths += stages.into.rglob("clusters.parquet")
        paths += [
            stages.into / name
            for name in ("null_p_values", "null_discoveries", "recovery", "by_set", "ablations")
        ]
        said = [tables.read_metadata(path) for path in paths]
        said.append(covariances.read(stages.into / "activations").metadata)
        said.append(transport.read(stages.into / "transport").metadata)
        assert {metadata["device"] for metadata in said} == {device}
        with pretend_cuda():
            name = devices.described(device)["device_name"]
        assert {metadata["device_name"] for metadata in said} == {name}
        unembedding = stages.into / stages.unembedding.relative_to(stages.folder)
        assert matrices.read_unembedding(unembedding).metadata["trained_tokens_device"] == device
        precisions = {
            tables.read_metadata(path)["precision"] for path in stages.into.rglob("moments.parquet")
        }
        exact = products.meant("auto", device) if IS_TRUE else {"cpu": "fp32", "cuda": "split"}[device]
        assert precisions == {exact}


def test_every_script_with_a_device_is_checked_here():
    scripts = (ROOT / "workflow/scripts").glob("*.py")
    with_device = [path.stem for path in scripts if "import devices" in path.read_text()]
    # Effects, steering and contexts pick their device in the library, with what follows from it.
    assert {*with_device, "measure_effects", "measure_steering", "find_contexts"} == set(HEAVY)


@pytest.mark.skipif(IS_TRUE, reason="there is a GPU here")
def test_without_a_gpu_cuda_is_one_line(tiny_study, tmp_path):
    with pytest.raises(FsrlError, match="device is cuda, but Torch can use no GPU here .*; use auto or cpu"):
        Stages(tiny_study, tmp_path, "cuda").compute_null_moments()
