"""Where a notebook finds the feature analyzer: `from fsrl.utils import SAEfeatureAnalyzer`."""

from fsrl.analyzer.analyzer import SAEfeatureAnalyzer

__all__ = ["SAEfeatureAnalyzer"]
