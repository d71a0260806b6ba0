# Which rule needs which, for the README: a picture of the graph that Snakemake itself makes of these files.
RULEGRAPH = expand("figures/{{study}}/rulegraph.{format}", format=["pdf", "png"])
FIGURES += [path.format(study=name) for name in STUDIES for path in RULEGRAPH]


rule rulegraph:
    input:
        "Snakefile",
        sorted(str(path.relative_to(ROOT)) for path in (ROOT / "workflow/rules").glob("*.smk")),
        # No picture of a study that cannot be built; what is in its weights changes nothing.
        weights=ancient(UNEMBEDDING),
        code=library("rulegraph.py"),
    output:
        in_report(RULEGRAPH),
    log:
        "logs/{study}/rulegraph.log",
    benchmark:
        "results/benchmarks/{study}/rulegraph.tsv"
    threads: ONE
    params:
        title=lambda wildcards: STUDIES[wildcards.study].title,
        # What decides which rules there are; the script reads the whole config.
        views=lambda wildcards: (STUDIES[wildcards.study].views, STUDIES[wildcards.study].figure_views),
        chosen=[config["enrichment"]["views"], config["planted"]["studies"], config["effects"]["view"]],
    script:
        "../scripts/rulegraph.py"
