# What the later blocks and the final norm make of directions: a matrix for each hook, for views with `transport`. Our own
# mean at one position, and of views with a published lens that lens.
TRANSPORT = "results/{study}/transport.safetensors"
# Ours, as others load it.
LENS = "results/{study}/lens.pt"
# A published one, as views read it.
READ_LENS = "results/{study}/lenses/{view}.safetensors"


def is_transported(view):
    """Does the view carry directions to the end of the residual stream?"""
    return "transport" in config["views"][view]


def carried_views(study):
    """The study's views that do."""
    return [view for view in study.views if is_transported(view)]


def own_views(study):
    """Of these the ones with our own mean at one position."""
    return [view for view in carried_views(study) if view not in study.lenses]


def transport_of(study):
    """The study's own matrices, where a view of it has transport: the final norm's part of a lens is theirs."""
    return [TRANSPORT] if carried_views(study) else []


def matrices_of(study, views):
    """The matrices that each of these views with transport reads, in their order."""
    return [
        READ_LENS.replace("{view}", view) if view in study.lenses else TRANSPORT
        for view in views
        if is_transported(view)
    ]


def transport_of_view(wildcards):
    """The matrices, an input of what reads one view."""
    return matrices_of(STUDIES[wildcards.study], [wildcards.view])


TRANSPORTS = [TRANSPORT.format(study=name) for name, study in STUDIES.items() if carried_views(study)]
TRANSPORTS += [
    READ_LENS.format(study=name, view=view) for name, study in STUDIES.items() for view in study.lenses
]


# The text's windows that the effects of a study are measured on, on a GPU or on a CPU, are left out: what is measured there
# tests what is fitted here.
rule fit_transport:
    input:
        weights=local_files,
        fetched=fetched,
        decoders=every_layer(DECODER),
        text=evaluation_text,
        code=library("fit_transport.py"),
    output:
        TRANSPORT,
    log:
        "logs/{study}/fit_transport.log",
    benchmark:
        "results/benchmarks/{study}/fit_transport.tsv"
    threads: HALF
    resources:
        **GPU,
        mem_mb=beside_model(3000),
    params:
        device=config["device"],
        model=lambda wildcards: config["studies"][wildcards.study]["model"],
        settings={
            **config["transport"],
            "context": config["effects"]["context"],
            "leave_out": [
                config["effects"][sample]["contexts"] for sample in ("sample", "large_model_on_cpu")
            ],
        },
    script:
        "../scripts/fit_transport.py"


# No part of `all`: `snakemake --cores 1 lenses` writes it for the studies that are built.
rule write_lens:
    input:
        transport=TRANSPORT,
        code=library("write_lens.py"),
    output:
        LENS,
    log:
        "logs/{study}/write_lens.log",
    benchmark:
        "results/benchmarks/{study}/write_lens.tsv"
    threads: ONE
    resources:
        mem_mb=1000,
    script:
        "../scripts/write_lens.py"


rule lenses:
    input:
        [LENS.format(study=name) for name, study in STUDIES.items() if carried_views(study)],


def lens_file(wildcards):
    """The user's file of a view's lens, an input; a missing one stops only those who ask for this study."""
    found = STUDIES[wildcards.study].lenses[wildcards.view].local_files()
    # It may be what another study's T is written to.
    made = [LENS.format(study=name) for name in STUDIES]
    for path in found:
        if str(path) not in made and not path.is_file():
            stop(
                f"config: views.{wildcards.view}.transport: {path} is missing; put the file there or correct it"
            )
    return [str(path) for path in found]


def lens_record(wildcards):
    """The record of its file on the hub."""
    return [FETCHED_LENS] if (wildcards.study, wildcards.view) in HUB_LENSES else []


rule read_lens:
    input:
        own=TRANSPORT,
        decoders=every_layer(DECODER),
        lens=lens_file,
        fetched=lens_record,
        code=library("read_lens.py"),
    output:
        READ_LENS,
    log:
        "logs/{study}/read_lens/{view}.log",
    benchmark:
        "results/benchmarks/{study}/read_lens/{view}.tsv"
    wildcard_constraints:
        study=any_of(name for name, study in STUDIES.items() if study.lenses),
        view=any_of(view for study in STUDIES.values() for view in study.lenses),
    threads: ONE
    resources:
        mem_mb=1000,
    params:
        source=source_of_lens,
    script:
        "../scripts/read_lens.py"
