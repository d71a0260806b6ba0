"""What a notebook shows of a feature: Neuronpedia's dashboard in a frame, or a page made here; and links."""

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from fsrl import arguments, files
from fsrl.errors import FsrlError
from fsrl.neuronpedia import api as neuronpedia
from fsrl.neuronpedia import links as neuronpedia_links

UNTESTED = "test_text is for Neuronpedia's page, since one made here runs no model"


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
        check_path(path)
        path = Path(path)
        with files.whole(path) as temporary:
            temporary.write_text(self.html, encoding="utf-8")
        return path


def check_path(path: str | Path) -> None:
    """Raise FsrlError for a path that no page is written to."""
    wanted = "give a path that ends in .html"
    arguments.require(arguments.is_path(path), "feature page", "save_path", path, wanted)
    if Path(path).suffix not in (".html", ".htm"):
        raise FsrlError(f"{path}: a page is written as .html; change the file's ending")


def check(*, live: Any, save_path: Any, width: Any, height: Any, hide: Any, test_text: Any) -> None:
    """Raise FsrlError for an argument of `SAEfeatureAnalyzer.get_feature_page` that means nothing."""

    def require(met: bool, name: str, value: object, wanted: str) -> None:
        arguments.require(met, "feature page", name, value, wanted)

    require(live is None or isinstance(live, bool), "live", live, "choose True, False or None")
    wide = isinstance(width, str) or arguments.is_whole(width, 1)
    require(wide, "width", width, 'give a number of pixels, or a share such as "100%"')
    require(arguments.is_whole(height, 1), "height", height, "give a number of pixels")
    require(test_text is None or isinstance(test_text, str), "test_text", test_text, "give a text")
    neuronpedia_links.check_parts(hide)
    if save_path is not None:
        check_path(save_path)
    if live and save_path is not None:
        raise FsrlError("feature page: the live page is Neuronpedia's; to save one, leave live out")


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


def why_local(
    place: tuple[str, str] | None, feature: int, live: bool | None, test_text: str | None = None
) -> str | None:
    """Why a feature's page is made here; None where it is Neuronpedia's, which is asked if live is None.

    place: model and source there, None for an SAE that it does not host. Raises FsrlError for a test_text
    where the page can only be one made here; where it is so by chance, the reason says what is left out.
    """
    if live and place is not None:
        return None
    if test_text is not None and (place is None or live is False):
        raise FsrlError(f"feature page: {UNTESTED}; leave test_text out")
    if place is None:
        return "Neuronpedia does not host this SAE."
    if live is False:
        return "It was asked for in place of Neuronpedia's."
    try:
        neuronpedia.feature(*place, feature)
    except FsrlError as error:
        left_out = "" if test_text is None else f" ({UNTESTED})"
        return f"Neuronpedia's page is not to be had: {error}{left_out}"
    return None
