# From language models and their sparse autoencoders to tables and figures:
#   snakemake --cores 8                        every table and figure of the studies in config/config.yaml
#   snakemake --cores 8 --config study=NAME    those of one study
from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/config.smk"


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/weights.smk"
include: "workflow/rules/transport.smk"
include: "workflow/rules/nulls.smk"
include: "workflow/rules/moments.smk"
include: "workflow/rules/types.smk"
include: "workflow/rules/enrichment.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/effects.smk"
include: "workflow/rules/steering.smk"
include: "workflow/rules/explanations.smk"
include: "workflow/rules/predictions.smk"
include: "workflow/rules/studies.smk"
include: "workflow/rules/latex.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/notebooks.smk"
include: "workflow/rules/paper.smk"
include: "workflow/rules/dictionaries.smk"
include: "workflow/rules/browser.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/train_mini.smk"
include: "workflow/rules/cluster.smk"
include: "workflow/rules/end.smk"


# A missing table is rebuilt only where somebody asks for it, so every table is asked for.
rule all:
    default_target: True
    input:
        WEIGHTS,
        TRANSPORTS,
        NULLS,
        AXIS_SHARES,
        MOMENTS,
        TYPES,
        SUMMARIES,
        EFFECTS,
        STEERING,
        CONFIDENCE,
        EVIDENCE,
        EXPLANATIONS,
        LATEX_TABLES,
        COMPARISONS,
        FIGURES,
        NOTEBOOKS,
        PAPER_TARGETS,
        BROWSERS,
