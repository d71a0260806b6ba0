# `snakemake --report results/report.html` shows every figure with its caption, by study and by what it is about. A
# figure's caption is workflow/report/{its file's name}.rst, of effects and planted truth in a folder of that name.
import reports
from fsrl.hooks import hook_label

reports.make_harmless()

# Sections stand in the order of their names.
REPORT_SECTIONS = {
    "Headline": ["headline"],
    "Token sets": ["splits", "enrichment_heatmap", "manhattan", "null_p_values", "set_coverage"],
    "Thresholds and planted truth": ["sensitivity", "planted/recovery", "planted/recovery_by_set"],
    "Measured effects": [
        "effects/agreement",
        "effects/agreement_by_type",
        "effects/moments",
        "effects/retention",
        "effects/transported_moments",
        "effects/transported_tokens",
    ],
}


def in_report(paths):
    """A rule's figures, those in PNG marked for the report; a path's parts say what it shows."""
    return [_marked(path) if path.endswith(".png") else path for path in paths]


def model_figures_in_report(paths):
    """The figures of a rule of a model's, for all its studies, those in PNG marked for the report."""
    return [_of_model(path) if path.endswith(".png") else path for path in paths]


def _of_model(path):
    # figures/models/{model}/{figure}.png
    name = Path(path).stem
    shown = _shown(name, name, "all", ["all"]) | {"category": "{model}"}
    return report(path, **shown)


def folder_in_report(folder):
    """A folder of one figure a layer, named by its SAE, those in PNG marked for the report."""
    name = Path(folder).name
    place = Path(folder).parts[2:-1]
    return report(directory(folder), patterns=["{layer}.png"], **_shown(name, name, "{layer}", place))


def _marked(path):
    # figures/{study}/{view, or what it is about}/{SAE, where it is of one layer}/{figure}.png
    _, _, *place, name = path.removesuffix(".png").split("/")
    about = place[0] if place else ""
    caption = f"{about}/{name}" if about in ("effects", "planted") else name
    return report(path, **_shown(name, caption, place[1] if len(place) > 1 else "all", place))


def _shown(name, caption, layer, place):
    sections = [section for section, names in REPORT_SECTIONS.items() if caption in names]
    return {
        "caption": f"../report/{caption}.rst",
        "category": "{study}",
        "subcategory": sections[0] if sections else "Moments and types",
        "labels": _labels(name, layer, place[0] if place else ""),
    }


def _labels(name, layer, place):
    """A figure's labels, by the job's wildcards: layers are called as the figures call them."""

    def labels(wildcards):
        known = dict(wildcards.items())
        return {
            "figure": name.replace("_", " "),
            "layer": hook_label(layer.format(**known)),
            "view or stage": place.format(**known),
        }

    return labels
