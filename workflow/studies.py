"""The studies of the config, resolved: where their weights are, which can be built here."""

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from fsrl.effects import scope
from fsrl.errors import FsrlError
from fsrl.models import hub_files, hub_record, sources, stored
from fsrl.models.hub_files import HubFile
from fsrl.models.lenses import LensSource
from fsrl.models.sources import ModelSource, SAESource
from fsrl.names import SHARED

# What models call the number of tokens that they read at once.
POSITIONS = ("n_positions", "n_ctx", "max_position_embeddings")


@dataclass(frozen=True)
class Study:
    """One entry of the config's `studies`, with the defaults filled in."""

    name: str
    title: str
    model: ModelSource
    saes: SAESource
    token_counts: str | None
    evaluation_text: str
    views: list[str]
    figure_views: list[str]
    without: list[str]
    one_job: bool
    download_gb: float | None
    # By view, of those that read one.
    lenses: dict[str, LensSource]

    @property
    def sae_ids(self) -> list[str]:
        """The SAEs in the order in which figures show them."""
        return list(self.saes.sae_ids)

    def hub_files(self) -> list[HubFile]:
        """The files that come from the hub."""
        return self.model.hub_files() + self.saes.hub_files()

    def local_files(self) -> list[str]:
        """The files that lie in folders of the user's; FsrlError naming the first that is missing."""
        found = _located(f"config: studies.{self.name}.saes", self.saes.local_files)
        return sorted({*self.model_files(), *self._readable(found)})

    def model_files(self) -> list[str]:
        """Of these the model's and its token counts."""
        place = f"config: studies.{self.name}"
        found = _located(f"{place}.model", self.model.local_files)
        if self.token_counts is not None:
            path = Path(self.token_counts)
            if not path.is_file():
                raise FsrlError(
                    f"{place}.token_counts: {path} is missing; put the file there or correct the setting"
                )
            found.append(path)
        return self._readable(found)

    def _readable(self, found: list[Path]) -> list[str]:
        """The paths, sorted; FsrlError for one that Snakemake cannot read."""
        for path in found:
            if "{" in str(path) or "}" in str(path):
                raise FsrlError(
                    f"config: studies.{self.name}: {path} has braces in its name, which Snakemake cannot "
                    "read; rename it"
                )
        return sorted(map(str, found))

    def text(self) -> str:
        """Path of the held-out text; FsrlError where there is none."""
        if not Path(self.evaluation_text).is_file():
            raise FsrlError(
                f"config: studies.{self.name}.evaluation_text: {self.evaluation_text} is missing; put the "
                "file there or correct the setting"
            )
        return self.evaluation_text

    def positions(self) -> tuple[int, str] | None:
        """How many tokens the model reads at once, and which key of which file says so; None where it is not
        on this machine or says nothing. Raises FsrlError for a file that is broken.
        """
        found = _located(f"config: studies.{self.name}.model", self.model.config) or {}
        text = found.get("text_config")
        found = found | (text if isinstance(text, dict) else {})
        for key in POSITIONS:
            if isinstance(found.get(key), int):
                return found[key], f"{key} in config.json of {self.model.name}"
        return None

    def model_mb(self) -> int:
        """What its model takes in memory in float32 (MB of 10^6 bytes), by the headers of its weights' files.

        0 where they are not here (yet), or broken, which the job that reads them says.
        """
        try:
            numbers = sum(map(stored.numbers, sources.weight_files(self.model.directory())))
        except (FsrlError, OSError, SafetensorError):
            return 0
        return -(-4 * numbers // 10**6)

    def lacks_weights(self) -> bool:
        """Whether files of the hub must be fetched first; asks the cache, never the network."""
        lenses = [file for lens in self.lenses.values() for file in lens.hub_files()]
        return bool(hub_files.missing(self.hub_files() + lenses))

    def check_record(self, record: str, files: Sequence[HubFile]) -> tuple[bool, str | None]:
        """Whether files that the record names are lost from the hub's cache; one line where the two disagree.

        files: what was recorded, the study's or a lens's. Asks no network, and for nothing but names and
        sizes. No record: nothing is lost.
        """
        if not Path(record).is_file():
            return False, None
        lost = hub_record.lost(files, record)
        if lost:
            others = f" and {len(lost) - 1} more files" if len(lost) > 1 else ""
            return True, (
                f"study {self.name}: {lost[0]}{others} of {record} not in the Hugging Face cache; a job that "
                f"reads them fetches them, as does `snakemake --cores 1 download --config study={self.name}`"
            )
        moved = hub_record.moved(files, record)
        return False, None if moved is None else f"study {self.name}: {moved}"

    def transcoders(self) -> list[str]:
        """Those of its SAEs that read another place of the model than they write; asks no network."""
        return _located(f"config: studies.{self.name}.saes", self.saes.transcoders)

    def unread(self) -> list[str]:
        """Those of its SAEs of which nobody can tell yet whether they are transcoders; asks no network."""
        return _located(f"config: studies.{self.name}.saes", self.saes.unread)

    def unlike_gpt2(self) -> str | None:
        """What in its model is not as in GPT-2; None where all is. By its name, until its files are here."""
        found = _located(f"config: studies.{self.name}.model", self.model.config)
        if found is None and self.model.hub is not None:
            return scope.unlike_gpt2_by_name(self.model.hub)
        return None if found is None else scope.unlike_gpt2(found)

    def trained_on_another(self) -> str | None:
        """A line where SAELens' directory has the release under another model than the study's."""
        from fsrl.models import catalogue  # pandas, which no job's own snakemake needs

        if self.saes.release is None or not self.saes.listed.listed or self.model.hub is None:
            return None
        expected, hub = (
            catalogue.model_of(self.saes.release),
            self.model.hub.removeprefix("openai-community/"),
        )
        if expected.casefold() == hub.casefold():
            return None
        return (
            f"study {self.name}: release {self.saes.release} is of {expected}, by SAELens' directory, and "
            f"the study's model is {self.model.hub}"
        )

    def neuronpedia(self) -> dict[str, tuple[str, str] | None]:
        """Model and source at Neuronpedia of each SAE, None where it has none; asks no network."""
        if self.saes.release is None:
            return dict.fromkeys(self.sae_ids)
        # Imported here, as below: requests costs every job a fifth of a second.
        from fsrl.neuronpedia import links as neuronpedia_links

        return {sae: neuronpedia_links.source_id(sae, self.saes.release) for sae in self.sae_ids}

    def lacks_export(self, kind: str, cache: str | None) -> list[str]:
        """The sources at Neuronpedia whose explanations or features are not in the cache; asks no network."""
        from fsrl.neuronpedia import cache as neuronpedia_cache

        return neuronpedia_cache.lacking(filter(None, self.neuronpedia().values()), kind, cache)

    def how_to_get(self) -> str:
        """One line for a study that is skipped because its weights are not here."""
        return f"study {self.name} is skipped: {self.remedy()}"

    def remedy(self) -> str:
        """What a study lacks whose weights are not here, and how to get it."""
        size = "" if self.download_gb is None else f" (about {self.download_gb:g} GB)"
        return (
            "its weights are not on this machine; get them with "
            f"`snakemake --cores 1 download --config study={self.name}`{size}"
        )


def left_out(name: str, config: dict[str, Any]) -> list[str]:
    """Views of the study `name` that are not built: with transport, where nulls.kinds is isotropic alone.

    Isotropic directions are a layer's own in these, and without other kinds a layer has no table of nulls.
    """
    views = (config["study_defaults"] | config["studies"][name])["views"]
    alone = set(config["nulls"]["kinds"]) == {SHARED}
    return [view for view in views if alone and "transport" in config["views"][view]]


def resolve(name: str, config: dict[str, Any]) -> Study:
    """The study `name` of a checked config. FsrlError with its place for a source that makes no sense."""
    entry = config["study_defaults"] | config["studies"][name]
    place = f"config: studies.{name}"
    saes = _located(f"{place}.saes", lambda: SAESource.from_settings(entry["saes"]))
    _located(f"{place}.saes", lambda: saes.sae_ids)
    model = _located(f"{place}.model", lambda: ModelSource(**entry["model"]))
    alone = left_out(name, config)
    study = Study(
        name,
        " ".join(entry.get("title", name).split()),
        model,
        saes,
        entry.get("token_counts"),
        entry["evaluation_text"],
        [view for view in entry["views"] if view not in alone],
        [view for view in entry["figure_views"] if view not in alone],
        entry.get("without", []),
        entry.get("one_job", False),
        entry.get("download_gb"),
        {
            view: _lens(name, view, config["views"][view]["transport"], model)
            for view in entry["views"]
            if view not in alone and isinstance(config["views"][view].get("transport"), dict)
        },
    )
    # Each file is named as it may be named on the hub.
    _located(f"{place}.model", study.model.hub_files)
    _located(f"{place}.saes", study.saes.hub_files)
    return study


def _lens(name: str, view: str, settings: Mapping[str, Any], model: ModelSource) -> LensSource:
    """The lens that a view of the study `name` reads."""
    return _located(f"config: views.{view}.transport (study {name})", lambda: LensSource.of(settings, model))


def model_folders(config: Mapping[str, Any]) -> dict[str, str]:
    """Study -> the name of its model's folder, for every study of the config, asked for or not.

    In it lies what the model decides alone: W_U, tokens, isotropic nulls. Studies with one model and the same
    token counts share it; others never do, however models are called.

    >>> a, b, c = {"hub": "openai/gpt2"}, {"hub": "openai/gpt2"}, {"folder": "openai/gpt2"}
    >>> model_folders({"studies": {"a": {"model": a}, "b": {"model": b}, "c": {"model": c}}})
    {'a': 'openai-gpt2', 'b': 'openai-gpt2', 'c': 'openai-gpt2-2'}
    """
    # A key of what decides the content -> the folder's name; as one folder where capitals do not count.
    names: dict[str, str] = {}
    found = {}
    for study, entry in config["studies"].items():
        model = {key: value for key, value in entry["model"].items() if value is not None}
        key = json.dumps([model, entry.get("token_counts")], sort_keys=True)
        if key not in names:
            taken = {name.lower() for name in names.values()}
            stem = _folder_name(model)
            choices = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
            names[key] = next(name for name in choices if name.lower() not in taken)
        found[study] = names[key]
    return found


def model_views(config: Mapping[str, Any], folder: str) -> list[str]:
    """The views of all studies that share the folder, asked for or not, in the order of the config."""
    found = {
        view
        for study, name in model_folders(config).items()
        if name == folder
        for view in (config["study_defaults"] | config["studies"][study])["views"]
    }
    return [view for view in config["views"] if view in found]


def _folder_name(model: Mapping[str, Any]) -> str:
    """A model's repository and revision, or the last two parts of its folder, as one name of a folder."""
    parts = Path(str(model.get("hub") or model.get("folder"))).parts[-2:] + (model.get("revision", ""),)
    name = re.sub(r"[^A-Za-z0-9_.]+", "-", "-".join(filter(None, parts))).strip("-._")
    return name[:80] or "model"


def check(study: Study, config: dict[str, Any]) -> None:
    """Raise FsrlError for a model that is refused as it is published, and for settings that do not fit the
    study's model, as far as it is on this machine.
    """
    from fsrl.models import catalogue  # as above

    refused = catalogue.REFUSED_MODELS.get(study.model.hub or "")
    if refused is not None:
        why = catalogue.REASONS[refused]
        raise FsrlError(f"config: studies.{study.name}.model: {study.model.hub} cannot be studied: {why}")
    contexts = {}
    if "activations" not in study.without:
        contexts["nulls.context"] = config["nulls"]["context"]
    measured = config["effects"]["view"] in study.views and "effects" not in study.without
    if measured or any(config["views"][view].get("transport") for view in study.views):
        contexts["effects.context"] = config["effects"]["context"]
    limit = study.positions()
    for place, context in contexts.items():
        if limit is not None and context > limit[0]:
            raise FsrlError(
                f"config: {place}: {context} is more than the {limit[0]} positions of study {study.name}'s "
                f"model ({limit[1]}); take at most {limit[0]}"
            )
    _check_token_sets(study, config["token_sets"]["extra"])


def _check_token_sets(study: Study, extra: Mapping[str, Mapping[str, Any]]) -> None:
    """Every set has a member in the study's vocabulary, and is found in a time that ends."""
    path = study.model.on_disk("tokenizer.json") if extra else None
    if path is None:
        return
    # Seconds for whoever plans, if every plan did it.
    from tokenizers import Tokenizer

    from fsrl.tokens import sets, text

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # tokenizers has no exceptions of its own; whoever reads the model says what is wrong
        return
    if "ByteLevel" not in str(tokenizer.decoder):  # other kinds spell tokens otherwise: the job says it
        return
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    tokens = [text.spell(token.encode()) if token in added else token for token in tokenizer.get_vocab()]
    place = f"config: token_sets.extra (study {study.name})"
    _located(place, lambda: sets.check_extra(extra, tokens))


def _located(place: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except FsrlError as error:
        raise FsrlError(f"{place}: {error}") from None
