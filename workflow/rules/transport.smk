# What the later blocks and the final norm make of directions: a matrix for each hook, for views with `transport`.
TRANSPORT = "results/{study}/transport.safetensors"


def is_transported(view):
    """Does the view carry directions to the end of the residual stream?"""
    return "transport" in config["views"][view]


def carried_views(study):
    """The study's views that do."""
    return [view for view in study.views if is_transported(view)]


def transport_of(study):
    """The study's matrices, where a view of it reads them."""
    return [TRANSPORT] if carried_views(study) else []


def transport_of_view(wildcards):
    """The matrices, an input of what reads one view."""
    return [TRANSPORT] if is_transported(wildcards.view) else []


TRANSPORTS = [TRANSPORT.format(study=name) for name, study in STUDIES.items() if carried_views(study)]


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
    threads: own_share
    resources:
        **GPU,
        mem_mb=3000,
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
