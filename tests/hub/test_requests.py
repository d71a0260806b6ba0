"""A hub that lies, stalls, is busy, refuses or is none: what is believed, and how it ends."""

import os
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsrl.errors import FsrlError
from fsrl.models import hub_files, hub_requests
from fsrl.models.hub_files import HubFile
from tests.hub.server import LoopbackHub

REPO = "jbloom/GPT2-Small-SAEs-Reformatted"
SAE = "blocks.8.hook_resid_pre"
WEIGHTS = HubFile(REPO, f"{SAE}/sae_weights.safetensors")
CONFIG = HubFile(REPO, f"{SAE}/cfg.json")
DENSITY = HubFile(REPO, f"{SAE}/sparsity.safetensors", required=False)
RESOLVED = f"/{REPO}/resolve/*"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_requests, "PAUSE_SECONDS", 0.01)


def tree(folder: Path) -> set[str]:
    """Every file and link below a folder, links not followed."""
    found = [Path(top) / name for top, _, names in os.walk(folder) for name in names]
    return {str(path.relative_to(folder)) for path in found}


def refused(*files: HubFile) -> str:
    with pytest.raises(FsrlError) as caught:
        hub_files.fetch(files)
    assert "\n" not in str(caught.value)
    return str(caught.value)


HOSTILE = [
    '"../../x"',
    '"abc"',
    '""',
    f'"{"a" * 65}"',
    f'"{"A" * 64}"',
    f'"{"A" * 40}"',
    f'"{"a" * 39}"',
    f'"{"a" * 40}/../../../x"',
    f"W/W/{'a' * 40}",
    f'"{"a" * 40}, {"b" * 40}"',
]


@pytest.mark.parametrize("etag", [*HOSTILE, "OUTSIDE"])
@pytest.mark.parametrize("file", [CONFIG, WEIGHTS], ids=["small", "large"])
def test_an_etag_that_is_no_hash_writes_nothing(
    at_hub: LoopbackHub, tmp_path: Path, etag: str, file: HubFile
) -> None:
    outside = tmp_path / "outside/x"
    outside.parent.mkdir()
    name = "ETag" if file == CONFIG else "X-Linked-Etag"
    at_hub.lie(f"*{file.path}", {name: f'"{outside}"' if etag == "OUTSIDE" else etag})
    # An empty one is none, and the other is taken.
    line = refused(file)
    assert "ETag" in line or "Etag" in line
    assert "no hash" in line and "HF_ENDPOINT" in line
    assert tree(tmp_path) == set()


@pytest.mark.parametrize("name", ["ETag", "X-Repo-Commit"])
def test_an_answer_without_what_a_hub_says_is_refused(at_hub: LoopbackHub, tmp_path: Path, name: str) -> None:
    at_hub.lie(RESOLVED, {name: None})
    assert "what no hub does" in refused(CONFIG)
    assert not any("blobs" in path for path in tree(tmp_path))


@pytest.mark.parametrize("commit", ["../../../x", "main", "a" * 41, "A" * 40, "/tmp/x", " "])
@pytest.mark.parametrize("file", [CONFIG, WEIGHTS, HubFile(REPO, "nothing.json", required=False)], ids=str)
def test_a_commit_that_is_none_writes_nothing(
    at_hub: LoopbackHub, tmp_path: Path, commit: str, file: HubFile
) -> None:
    at_hub.lie(RESOLVED, {"X-Repo-Commit": commit}, methods=("HEAD",))
    assert "X-Repo-Commit" in refused(file)
    assert tree(tmp_path) == set()


def test_what_is_said_the_second_time_is_looked_at_as_well(at_hub: LoopbackHub, tmp_path: Path) -> None:
    """The file's ETag is asked for twice: by fsrl, and by huggingface_hub when it makes the path."""
    seen: list[str] = []

    def hostile_from_the_second(method: str, path: str, kinds: tuple[str, ...]) -> object:
        if "lie" in kinds and method == "HEAD":
            seen.append(path)
            if len(seen) > 1:
                return type("Lie", (), {"headers": {"ETag": '"../../x"'}})
        return None

    at_hub.take_fault = hostile_from_the_second  # type: ignore[method-assign,assignment]
    try:
        assert "no hash" in refused(CONFIG)
    finally:
        del at_hub.take_fault
    assert len(seen) == 2 and tree(tmp_path) == set()


def test_other_libraries_of_the_process_are_guarded_too(at_hub: LoopbackHub, tmp_path: Path) -> None:
    from huggingface_hub import hf_hub_download

    hub_requests.guard()
    at_hub.lie(RESOLVED, {"ETag": f'"{tmp_path}/outside"'})
    with pytest.raises(FsrlError, match="no hash"):
        hf_hub_download(REPO, CONFIG.path)
    assert tree(tmp_path) == set()


def test_a_page_in_the_place_of_every_file_is_refused(at_hub: LoopbackHub, tmp_path: Path) -> None:
    at_hub.lie(RESOLVED, {"ETag": '"abc"', "X-Linked-Etag": None, "Location": None})
    at_hub.say(RESOLVED, b"<html>log in</html>")
    assert "no hash" in refused(CONFIG, WEIGHTS)
    assert not [path for path in tree(tmp_path) if "snapshots" in path]


def test_a_small_file_with_wrong_bytes_is_refused_as_a_large_one_is(
    at_hub: LoopbackHub, tmp_path: Path
) -> None:
    at_hub.corrupt(f"*{CONFIG.path}")
    assert "does not have the hash" in refused(CONFIG)
    assert not [path for path in tree(tmp_path) if "snapshots" in path or "/blobs/" in path]


@pytest.mark.parametrize(
    ("path", "revision"),
    [
        ("../x", None),
        ("a/../../x", None),
        ("/etc/x", None),
        ("a//b", None),
        ("a\\..\\b", None),
        ("C:\\x", None),
        ("a\x1bb", None),
        ("", None),
        ("cfg.json", "../../x"),
        ("cfg.json", "/tmp/x"),
    ],
)
def test_a_name_that_leads_elsewhere_is_no_file(path: str, revision: str | None) -> None:
    with pytest.raises(FsrlError, match="is no name of a") as caught:
        HubFile(REPO, path, revision)
    assert str(caught.value).isprintable()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(etag=st.text(st.sampled_from('abf019W/". AG'), max_size=70) | st.from_regex(r'(W/)?"?[0-9a-f]*"?'))
def test_what_passes_names_a_file_in_the_folder_of_blobs(etag: str) -> None:
    """The check against what huggingface_hub makes of an ETag."""
    from huggingface_hub.file_download import _normalize_etag

    if hub_requests._ETAG.fullmatch(etag):
        name = _normalize_etag(etag)
        assert os.path.basename(os.path.normpath(os.path.join("blobs", name))) == name
        assert len(name) in (40, 64)


def test_the_token_goes_to_the_hub_alone(at_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    hub_files.fetch([WEIGHTS])
    asked = {path.startswith("/cdn/") for _, path in at_hub.requests}
    sent = {path.startswith("/cdn/") for _, path in at_hub.authorized}
    assert asked == {False, True} and sent == {False}


# Busy


@pytest.mark.parametrize("pattern", ["/api/models/*", RESOLVED, "/cdn/*"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_asked_again_when_it_says(
    at_hub: LoopbackHub, capsys: pytest.CaptureFixture[str], pattern: str, status: int
) -> None:
    at_hub.fail(pattern, times=1, status=status, headers={"Retry-After": "1"})
    begun = time.monotonic()
    hub_files.fetch([WEIGHTS])
    assert 1 <= time.monotonic() - begun < 5
    said = [line for line in capsys.readouterr().err.splitlines() if "answered" in line]
    assert said == [f"{at_hub.url} answered {status} for {REPO}; asking again in 1 s"]


def test_a_time_to_come_back_may_be_a_date_or_the_hubs_own_limit() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=30)
    assert hub_requests._told({"Retry-After": "7"}) == 7
    assert 27 < hub_requests._told({"Retry-After": format_datetime(soon, usegmt=True)}) <= 30
    assert hub_requests._told({"Retry-After": format_datetime(soon - timedelta(days=1), usegmt=True)}) == 0
    assert hub_requests._told({"ratelimit": '"api";r=0;t=55'}) == 55
    assert hub_requests._told({"ratelimit": '"api";r=3;t=55'}) is None
    for nonsense in ("", "-3", "soon", "1e9", "9" * 400, "Wed, 99 Oct 2015 07:28:00 GMT"):
        assert hub_requests._told({"Retry-After": nonsense}) is None


@pytest.mark.parametrize("told", ["301", "999999999"])
def test_a_hub_that_wants_hours_is_not_waited_for(at_hub: LoopbackHub, told: str) -> None:
    at_hub.fail("/api/models/*", times=None, status=429, headers={"Retry-After": told})
    begun = time.monotonic()
    assert refused(WEIGHTS) == (
        f"{at_hub.url} answered 429 (busy) for {REPO}; run the command again in {told} s, what was "
        "fetched stays"
    )
    assert time.monotonic() - begun < 3


def test_429_without_a_time_is_asked_a_few_times(at_hub: LoopbackHub) -> None:
    at_hub.fail("/cdn/*", times=3, status=429)
    hub_files.fetch([WEIGHTS])
    at_hub.fail("/api/models/*", times=None, status=429)
    assert "answered 429 (busy)" in refused(DENSITY)


# Broken off


@pytest.mark.parametrize("after", [0, 1000], ids=["before", "in"])
def test_a_body_that_stands_still_is_given_up_after_one_more_try(
    at_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    assert 10 <= hub_requests.TRIES * hub_requests.STALL_SECONDS <= 20
    monkeypatch.setattr(hub_requests, "STALL_SECONDS", 0.5)
    at_hub.hold("/cdn/*", after=after)
    begun = time.monotonic()
    line = refused(WEIGHTS)
    assert time.monotonic() - begun < 6
    assert REPO in line and "2 times in a row" in line and at_hub.url in line
    at_hub.heal()
    hub_files.fetch([WEIGHTS])


def test_a_metadata_answer_that_does_not_come_the_second_time_is_given_up(
    at_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_requests, "STALL_SECONDS", 0.5)
    monkeypatch.setattr(hub_files, "_announced_sizes", lambda files: {})
    from huggingface_hub import file_download

    first = file_download.get_hf_file_metadata

    def then_stall(*given: object, **more: object) -> object:
        found = first(*given, **more)
        at_hub.stall(RESOLVED)
        return found

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", then_stall)
    begun = time.monotonic()
    assert "2 times in a row" in refused(CONFIG)
    assert time.monotonic() - begun < 6


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_body_that_breaks_off_goes_on_from_there(at_hub: LoopbackHub, reset: bool) -> None:
    at_hub.cut("/cdn/*", after=1000, times=3, reset=reset)
    hub_files.fetch([WEIGHTS])
    # One HEAD of fsrl's and one of huggingface_hub's; the rest are parts of one body.
    heads = [path for method, path in at_hub.requests if method == "HEAD"]
    assert len(heads) == 2
    assert [path for method, path in at_hub.requests if path.startswith("/cdn/")] != []


# What is no hub


@pytest.mark.parametrize(
    "body",
    [
        b"<html>log in</html>",
        b'{"id": "a", "siblings": [{"rfilename": ',
        b"[1, 2]",
        b'"text"',
        b"null",
        b"",
        b"\xff\xfe",
        b'{"siblings": 3}',
        b'{"id": "a", "siblings": [{"name": "x"}]}',
        b'{"id": "a", "siblings": [{"rfilename": "blobs", "size": "many"}]}',
        b'{"id": "a", "siblings": ["x"]}',
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:30]),
)
def test_an_answer_that_is_not_the_apis_is_one_line(at_hub: LoopbackHub, body: bytes) -> None:
    at_hub.say("/api/models/*", body)
    line = refused(WEIGHTS)
    assert line.startswith(f"{at_hub.url} answered for {REPO} what no hub does") and "HF_ENDPOINT" in line


@pytest.mark.parametrize(
    "location", ["http://[", "ftp://x/y", "file:///etc/passwd", "http://127.0.0.1:1/x", ""]
)
def test_a_redirect_to_nowhere_is_one_line(at_hub: LoopbackHub, tmp_path: Path, location: str) -> None:
    at_hub.lie(f"/{WEIGHTS.repo}/resolve/*", {"Location": location})
    assert REPO in refused(WEIGHTS)
    assert not [path for path in tree(tmp_path) if "snapshots" in path]


# Refused


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    return "hf_secretsecret"


CREDENTIALS = {"X-Error-Message": "Invalid credentials in Authorization header"}


@pytest.mark.parametrize(
    ("status", "headers", "with_token", "without"),
    [
        (401, CREDENTIALS, "refused the token in HF_TOKEN (401", "set HF_TOKEN"),
        (401, {}, "refused the token in HF_TOKEN (401", "set HF_TOKEN"),
        (401, {"X-Error-Code": "RepoNotFound"}, "the token in HF_TOKEN may not see it", "set HF_TOKEN"),
        (403, {}, "the token in HF_TOKEN may not read it", "set HF_TOKEN"),
        (403, {"X-Error-Code": "GatedRepo"}, "the account of the token in HF_TOKEN", "set HF_TOKEN"),
    ],
)
@pytest.mark.parametrize("pattern", ["/api/models/*", RESOLVED])
def test_a_refusal_names_the_variable_of_the_token(
    at_hub: LoopbackHub,
    request: pytest.FixtureRequest,
    status: int,
    headers: dict,
    with_token: str,
    without: str,
    pattern: str,
) -> None:
    at_hub.fail(pattern, times=None, status=status, headers=headers)
    line = refused(WEIGHTS)
    assert REPO in line and without in line and "in HF_TOKEN" not in line
    value = request.getfixturevalue("token")
    line = refused(WEIGHTS)
    assert with_token in line and value not in line and "try again later" not in line


def test_a_token_of_a_file_is_named_as_such(
    at_hub: LoopbackHub, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "token").write_text(token)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    at_hub.fail("/api/models/*", times=None, status=401, headers=CREDENTIALS)
    line = refused(WEIGHTS)
    assert "the token in the file that `hf auth login` wrote" in line and token not in line


@pytest.mark.parametrize("value", ["hf_töken", "hf_to\x00ken"])
def test_a_token_that_no_header_can_carry_is_named(
    at_hub: LoopbackHub, token: str, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    from huggingface_hub import get_token

    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: value)
    assert get_token() == token
    assert refused(WEIGHTS).startswith("the token in HF_TOKEN holds characters that no token has")


# The machine


@pytest.mark.parametrize("variable", ["ALL_PROXY", "https_proxy", "HTTP_PROXY"])
def test_a_socks_proxy_without_its_package_is_one_line(
    at_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "socks5://user:letmein@127.0.0.1:9")
    line = refused(WEIGHTS)
    assert line.startswith(f"{variable} names a SOCKS proxy") and "socksio" in line
    assert "letmein" not in line


@pytest.mark.parametrize("value", ["nonsense://x", "http://[::1"])
def test_a_proxy_that_is_none_is_one_line(
    at_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", value)
    assert refused(WEIGHTS).startswith("HTTP_PROXY is no address of a proxy")


def test_a_cache_that_cannot_be_made_is_named(
    at_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file/hub"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    line = refused(WEIGHTS)
    assert str(tmp_path / "file") in line and "cannot be written (Not a directory)" in line
    assert "HF_HOME" in line


def test_a_password_in_the_hubs_address_is_not_shown(
    at_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    with_user = at_hub.url.replace("http://", "http://someone:letmein@")
    monkeypatch.setattr(constants, "ENDPOINT", with_user)
    template = with_user + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    at_hub.fail("/api/models/*", times=1)
    hub_files.fetch([CONFIG])
    lines = []
    for status in (404, 418, 500):
        at_hub.heal()
        at_hub.fail("*", times=None, status=status)
        lines.append(refused(WEIGHTS))
    at_hub.close()
    lines.append(refused(WEIGHTS))
    said = "".join(capsys.readouterr()) + " ".join(lines)
    assert "letmein" not in said and "someone" not in said and at_hub.url in said
