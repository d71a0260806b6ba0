"""The features of each layer in two views, one figure a layer."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.figures import files as figure_files
from fsrl.figures import views as view_figures
from fsrl.nulls.joined import joined
from fsrl.tables import core as tables
from fsrl.tables.moments import MOMENTS, NULL
from fsrl.tables.types import TYPES

given, params = snakemake.input, snakemake.params
views = tuple(params.views)
shared = [tables.read(path, NULL) for path in given.nulls]
# Both views of the first layer, then of the second, ...
moments = [tables.read(path, MOMENTS) for path in given.moments]
own = [[tables.read(path, NULL)] for path in given.layer_nulls] or [[]] * len(moments)
nulls = [joined(shared[i % 2], extra) for i, extra in enumerate(own)]
pairs = [zip(frames[::2], frames[1::2], strict=True) for frames in (moments, nulls)]
figures = {
    sae: view_figures.two_views(
        both,
        null,
        tables.read(types, TYPES),
        views=views,
        scheme=params.scheme,
        title=f"{params.title} · {sae}",
    )
    for sae, both, null, types in zip(params.sae_ids, *pairs, given.types, strict=True)
}
for sae, figure in figures.items():
    figure_files.save_all(figure, snakemake.output[0], sae)
