"""What a notebook shows of a feature: Neuronpedia's dashboard in a frame, or a page made here; and links."""

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from fsrl import files, neuronpedia
from fsrl.errors import FsrlError


@dataclass(frozen=True, repr=False)
class LocalPage:
    """A self-contained HTML page of one feature; a notebook shows it in a frame of its own.

    In the frame the page runs no scripts and reaches nothing of the notebook. why: why it is shown in place
    of Neuronpedia's.
    """

    html: str
    why: str
    width: str
    height: int

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html)}" sandbox="" width="{escape(str(self.width))}" '
            f'height="{int(self.height)}" frameborder="0"></iframe>'
        )

    def __repr__(self) -> str:
        return f"<LocalPage: {len(self.html)} characters; {self.why}>"

    def save(self, path: str | Path) -> Path:
        """Write the page as an HTML file, whole or not at all; FsrlError for another ending than .html."""
        path = Path(path)
        if path.suffix not in (".html", ".htm"):
            raise FsrlError(f"{path}: a page is written as .html; change the file's ending")
        with files.whole(path) as temporary:
            temporary.write_text(self.html, encoding="utf-8")
        return path


class Link(str):
    """An address that a notebook shows as a link; anywhere else it is the text of the address."""

    text: str

    def __new__(cls, url: str, text: str) -> "Link":
        """url: http or https; text: what the link says."""
        link = super().__new__(cls, url)
        link.text = text
        return link

    def _repr_html_(self) -> str:
        return f'<a href="{escape(self)}" target="_blank" rel="noopener noreferrer">{escape(self.text)}</a>'


def live_frame(url: str, *, width: str, height: int) -> Any:
    """An IPython IFrame of an address."""
    from IPython.display import IFrame

    return IFrame(url, width, height)


def why_local(place: tuple[str, str] | None, feature: int, live: bool | None) -> str | None:
    """Why a feature's page is made here; None where it is Neuronpedia's, which is asked if live is None.

    place: model and source there, None for an SAE that it does not host.
    """
    if place is None:
        return "Neuronpedia does not host this SAE."
    if live is not None:
        return None if live else "It was asked for in place of Neuronpedia's."
    try:
        neuronpedia.feature(*place, feature)
    except FsrlError as error:
        return f"Neuronpedia's page is not to be had: {error}"
    return None
