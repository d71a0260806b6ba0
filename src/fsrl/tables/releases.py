"""Table of the releases of SAEs that SAELens lists, and what of each is known before anything is fetched."""

from fsrl.tables.core import Column, Table

RELEASES = Table(
    "releases",
    {
        "release": Column("string", "1", "its name, as studies.NAME.saes.release takes it"),
        "model": Column("string", "1", "the model's repository on the Hugging Face hub"),
        "kind": Column("string", "1", "SAEs, transcoders, or cross-layer transcoders"),
        "saes": Column("int64", "dictionaries", "how many it holds, one for each place that one writes to"),
        "d_sae": Column(
            "list<int64>", "features", "the widths that its names or publishers tell; empty where none does"
        ),
        "float32_gb": Column(
            "float64",
            "GB",
            "encoders and decoders of all as float32; null where a width is not known",
            nullable=True,
        ),
        "neuronpedia": Column("int64", "dictionaries", "how many of them Neuronpedia hosts"),
        "supported": Column("bool", "1", "whether a study of it can be built, with the model as published"),
        "why_not": Column("string", "1", "why it cannot; null where it can", nullable=True),
        "studies": Column("list<string>", "1", "the studies of config/config.yaml that read it"),
    },
)
