"""Where the files of one SAE lie on this machine."""

from dataclasses import dataclass
from pathlib import Path

from fsrl.models import hub_files
from fsrl.models.hub_files import shown
from fsrl.models.sources import DENSITY_FILE, SAE_FILES, SAESource


@dataclass(frozen=True)
class SAEFiles:
    """Where one SAE's files lie on this machine; config and density are None where there is none."""

    source: SAESource
    sae_id: str
    weights: Path
    config: Path | None
    density: Path | None

    @classmethod
    def of(cls, source: SAESource, sae_id: str) -> "SAEFiles":
        """The files of `sae_id` in a folder or, already fetched, in the hub's cache."""
        if source.folder is not None:
            config, weights, density = (
                Path(source.folder) / sae_id / name for name in (*SAE_FILES, DENSITY_FILE)
            )
            return cls(source, sae_id, weights, config, density if density.exists() else None)
        weights = hub_files.present(source.weights_file(sae_id))
        beside = (
            None if file is None else hub_files.cached(file)
            for file in (source.config_file(sae_id), source.density_file(sae_id))
        )
        return cls(source, sae_id, weights, *beside)

    @property
    def release(self) -> str:
        """What names the release in tables: its name, or the folder as it was given."""
        folder = self.source.folder
        return self.source.listed.name if folder is None else Path(folder).as_posix()

    @property
    def revision(self) -> str:
        """The commit of a release."""
        return "local folder" if self.source.folder is not None else hub_files.commit(self.weights)

    @property
    def target(self) -> int | None:
        """The layer that a dictionary of a cross-layer transcoder writes to; None for all others."""
        return self.source.listed.targets.get(self.sae_id) if self.source.release is not None else None

    @property
    def settings(self) -> str:
        """How errors name what holds the configuration."""
        return shown(self.config or self.weights)
