"""Where a study's weights are, for a notebook: `fsrl.sources.ModelSource` and `SAESource`."""

from fsrl.models.sources import ModelSource, SAESource

__all__ = ["ModelSource", "SAESource"]
