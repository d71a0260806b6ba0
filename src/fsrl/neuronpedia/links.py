"""Names and addresses at Neuronpedia: which source an SAE is there, and links to its features.

Neuronpedia names a feature by model, source and index: gpt2-small, 7-res-jb, 0. The source is no hook name
and cannot be computed from one (the res-jb source of blocks.11.hook_resid_post is 12-res-jb): SAELens'
directory tells it. Links are text; nothing here asks the network. Texts are percent-encoded, so that none of
them can leave its place in the address.
"""

import json
import re
from collections.abc import Collection, Iterable
from typing import Any
from urllib.parse import quote

from fsrl import arguments
from fsrl.errors import FsrlError
from fsrl.models import releases
from fsrl.neuronpedia.http import API_VARIABLE, base_url

# Where people look; the API is asked at `fsrl.neuronpedia.http.API_URL`.
SITE_URL = "https://neuronpedia.org"
# What an embedded dashboard shows unless it is told not to.
EMBED_PARTS = ("explanation", "plots", "activations", "test", "testfield", "steer", "link")
# Neuronpedia answers 404 to a longer quick list.
LONGEST_QUICK_LIST = 150


def source_id(sae: Any, release: str | None = None) -> tuple[str, str] | None:
    """Model and source at Neuronpedia of an SAE, such as ("gpt2-small", "7-res-jb"); None if it is not there.

    sae: an SAE's id in `release` (a name of SAELens' directory), which is the hook name in gpt2-small-res-jb;
    or its SAELens metadata (`sae.cfg.metadata`, or a mapping), whose neuronpedia_id is taken. What lies in a
    folder (no release) or in a hub repository is not there. Raises FsrlError for an unknown release, and for
    an unknown SAE of a known one.
    """
    wanted = "give the name of a release, or None"
    arguments.require(release is None or isinstance(release, str), "source_id", "release", release, wanted)
    known = isinstance(sae, str) or hasattr(sae, "get") or hasattr(sae, "neuronpedia_id")
    arguments.require(known, "source_id", "sae", sae, "give an SAE's id, or its metadata (sae.cfg.metadata)")
    if isinstance(sae, str):
        found = None if release is None else releases.neuronpedia_id(release, sae)
    else:
        found = sae.get("neuronpedia_id") if hasattr(sae, "get") else getattr(sae, "neuronpedia_id", None)
    if found is None:
        return None
    model_id, _, source = str(found).partition("/")
    return checked(model_id, source)


def feature_url(model_id: str, source: str, index: int, *, site: str | None = None) -> str:
    """Address of a feature's page. site: another Neuronpedia than the public one (or set NEURONPEDIA_URL)."""
    return f"{_site(site)}/{'/'.join(checked(model_id, source))}/{arguments.feature(index)}"


def embed_url(
    model_id: str,
    source: str,
    index: int,
    *,
    hide: Collection[str] = (),
    test_text: str | None = None,
    site: str | None = None,
) -> str:
    """Address of a feature's dashboard for an inline frame (which sets the height: there is no parameter).

    hide: which of EMBED_PARTS to leave out; test_text: what the field for a text to test holds at first.
    """
    check_parts(hide)
    right = test_text is None or arguments.is_text(test_text)
    arguments.require(right, "embed_url", "test_text", test_text, "give a text")
    address = feature_url(model_id, source, index, site=site) + "?embed=true"
    address += "".join(f"&embed{part}=false" for part in EMBED_PARTS if part in hide)
    return address if test_text is None else f"{address}&defaulttesttext={quote(test_text, safe='')}"


def check_parts(hide: Any) -> None:
    """Raise FsrlError for what is no list of some of EMBED_PARTS."""
    known = isinstance(hide, Collection) and all(part in EMBED_PARTS for part in hide)
    if not known or isinstance(hide, str):
        raise FsrlError(f"hide={hide!r}: give a list of some of {', '.join(EMBED_PARTS)}")


def quick_list_url(name: str, features: Iterable[tuple[str, str, int]], *, site: str | None = None) -> str:
    """Address of a page with the dashboards of 1 to 150 features (model, source, index), in this order."""
    arguments.require(arguments.is_text(name), "quick list", "name", name, "give a text")
    listed, wanted = [], "give a list of (model, source, index)"
    for one in arguments.listed(features, "quick list", "features", wanted):
        triple = isinstance(one, tuple | list) and len(one) == 3
        arguments.require(triple, "quick list", "a feature", one, wanted)
        model_id, source = checked(*one[:2])
        index = one[2]
        listed.append({"modelId": model_id, "layer": source, "index": str(arguments.feature(index))})
    if not 0 < len(listed) <= LONGEST_QUICK_LIST:
        raise FsrlError(
            f"a quick list of {len(listed)} features: Neuronpedia shows 1 to {LONGEST_QUICK_LIST}"
        )
    content = quote(json.dumps(listed, separators=(",", ":")), safe="")
    return f"{_site(site)}/quick-list/?name={quote(name, safe='')}&features={content}"


def checked(model_id: str, source: str) -> tuple[str, str]:
    """Both, if they can be names at Neuronpedia (and so parts of addresses and of paths); else FsrlError."""
    if re.search(r"(^|\.)hook_|^blocks\.", str(source)):
        raise FsrlError(
            f"{source!r} is a hook name and no source of Neuronpedia's; fsrl.neuronpedia.source_id tells it"
        )
    for kind, name in (("model", model_id), ("source", source)):
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise FsrlError(
                f"{name!r} cannot be a {kind} of Neuronpedia's; give names like gpt2-small, 7-res-jb"
            )
    return model_id, source


def _site(given: str | None) -> str:
    return base_url(given, API_VARIABLE, SITE_URL)
