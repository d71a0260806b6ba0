"""Reading packages, cutting passages, provenance and tokens of the embedded study."""

import gzip

import numpy as np
import pandas as pd
import pytest

from fsrl.errors import FsrlError
from fsrl.mini import corpus as mini_corpus
from fsrl.mini import tokens as mini_tokens


def read(reader, path):
    return "\n\n".join(mini_corpus.READERS[reader](path))


def test_html_keeps_prose_and_code_and_drops_navigation(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<html><head><title>no</title></head><body><nav>Home</nav><div class='sphinxsidebar'>Menu</div>"
        "<h1>Title</h1><p>One\n   line of <b>prose</b>.</p><pre>a = 1\n  b = 2</pre></body></html>"
    )
    assert read("html", page) == "Title\n\nOne line of prose.\n\na = 1\n  b = 2"


def test_an_empty_page_gives_nothing(tmp_path):
    (tmp_path / "empty.html").write_text(" \n")
    assert read("html", tmp_path / "empty.html") == ""


def test_dictionary_senses_are_lines_without_markup_or_repetition(tmp_path):
    path = tmp_path / "wn.dict.dz"
    sense = "a house in need of repair, usually offered for sale cheaply"
    text = (
        f"00-database-info\n    about this file\n"
        f"fixer\n    n 1: {sense} [syn:\n         {{fixer}}, {{fixer-upper}}]\n"
        f"fixer-upper\n    n 1: {sense} [syn: {{fixer}}]\n"
        "Fire \\Fire\\, n. [OE. fir, AS. f[=y]r.]\n   1. The evolution of light and heat. [1913 Webster]\n"
    )
    with gzip.open(path, "wt") as file:
        file.write(text)
    assert read("dictionary", path) == (
        f"fixer\nn 1: {sense}\n\nFire n.\n1. The evolution of light and heat."
    )


def test_pod_and_text_lose_their_markup(tmp_path):
    (tmp_path / "a.pod").write_text("=head1 NAME\n\nUse C<print> and L<perlfunc>.\n\n=cut\n")
    assert read("pod", tmp_path / "a.pod") == "NAME\n\nUse print and perlfunc."
    (tmp_path / "a.txt").write_text("Title\n=====\n\nCall :c:func:`probe` with ``NULL``.\n")
    assert read("text", tmp_path / "a.txt") == "Title\n\nCall probe with NULL."


def test_hard_wrapped_prose_is_joined_and_short_lines_are_kept():
    prose = "This is a line of prose that is long enough to be one\nand it goes on here."
    assert mini_corpus.unwrap(prose) == prose.replace("\n", " ")
    assert mini_corpus.unwrap("a = 1\nb = 2\nc = 3") == "a = 1\nb = 2\nc = 3"


def test_passages_drop_repeated_paragraphs_whatever_their_numbers():
    seen: set[bytes] = set()
    first = list(mini_corpus.passages("A paragraph.\n\nPage 1 of 9\n\nAnother.", seen))
    assert first == ["A paragraph.\n\nPage 1 of 9\n\nAnother."]
    assert list(mini_corpus.passages("Page 2 of 9\n\nNew.", seen)) == ["New."]


def test_passages_are_cut_at_paragraphs():
    paragraphs = [f"{letter * 1500}" for letter in "abcdef"]
    found = list(mini_corpus.passages("\n\n".join(paragraphs), set()))
    assert "\n\n".join(found) == "\n\n".join(paragraphs)
    assert [len(p) for p in found] == [4504, 4504]


def test_a_source_is_capped_and_split_by_hash_alone(tmp_path):
    folder = tmp_path / "files/pkg"
    folder.mkdir(parents=True)
    for n in range(400):  # told apart by letters: paragraphs that differ in their digits alone are one
        name = "".join("abcdefghij"[int(digit)] for digit in f"{n:03}")
        words = " ".join(f"word{name}{letter}" for letter in "abcdefghijklmnopqrst")
        (folder / f"{n:03}.txt").write_text(f"Document {name} says {words}.")
    everything = mini_corpus.read_source("pkg", "*.txt", "text", 10, tmp_path)
    assert len(everything) == 400
    assert 0 < everything["held_out"].sum() < 25
    capped = mini_corpus.read_source("pkg", "*.txt", "text", 0.02, tmp_path)
    assert 0.01e6 < capped["text"].str.len().sum() < 0.03e6
    # The same passages are held out, however many are kept.
    joined = capped.merge(everything, on="text", suffixes=("", "_all"))
    assert len(joined) == len(capped)
    assert (joined["held_out"] == joined["held_out_all"]).all()


def test_a_package_without_the_files_is_an_error(tmp_path):
    with pytest.raises(FsrlError, match=r"package pkg has no file that matches '\*.rst'"):
        mini_corpus.read_source("pkg", "*.rst", "text", 1, tmp_path)


def test_links_and_binary_text_are_not_clean():
    assert mini_corpus.is_clean("An English sentence, long enough to be kept in the corpus.")
    assert not mini_corpus.is_clean("see a.html b.html c.html d.html and e.html for all of it, always")
    assert not mini_corpus.is_clean("ждать и догонять хуже всего на свете, говорят старые люди")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Files: *\nLicense: GPL-2+\nFiles: a\nLicense: MIT\n", "GPL-2+; MIT"),
        ("This text is in the public domain\nfor ever.", "This text is in the public domain"),
        ("All rights reserved.", "see the package's copyright file"),
    ],
)
def test_licences_are_read_from_the_copyright_file(text, names):
    assert mini_corpus.licences(text) == names


def corpus_of(texts, packages, held_out):
    return pd.DataFrame({"package": packages, "text": texts, "held_out": held_out})


def test_evaluation_text_is_held_out_permissive_and_bounded():
    corpus = corpus_of(
        ["held one", "held two", "trained", "not free"], ["pd", "pd", "pd", "gpl"], [True, True, False, True]
    )
    provenance = pd.DataFrame({"package": ["pd", "gpl"], "licences": ["public-domain", "GPL"]})
    provenance["ships_evaluation_text"] = ["yes", "no"]
    text = mini_corpus.evaluation_text(corpus, provenance, 1000)
    assert sorted(text.split(mini_tokens.END)) == ["held one", "held two"]
    assert len(mini_corpus.evaluation_text(corpus, provenance, 25)) == len("held one")
    provenance["ships_evaluation_text"] = "yes"
    with pytest.raises(FsrlError, match="gpl ships, but its licences are 'GPL'"):
        mini_corpus.evaluation_text(corpus, provenance, 1000)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    corpus = corpus_of(
        ["the cat sat on the mat", "zyzzyva zyzzyva"] * 50, ["a", "b"] * 50, [False, True] * 50
    )
    mini_tokens.train_tokenizer(corpus, folder, d_vocab=300, max_mb_per_source=1)
    return folder


def test_the_tokenizer_follows_gpt2_and_never_sees_held_out_text(tokenizer):
    from transformers import AutoTokenizer

    vocabulary = mini_tokens.vocabulary(tokenizer)
    assert vocabulary[0] == mini_tokens.END
    assert "Ġthe" in vocabulary
    assert not any("zy" in token for token in vocabulary)
    auto = AutoTokenizer.from_pretrained(tokenizer)
    assert type(auto).__name__.startswith("GPT2Tokenizer")
    assert auto.decode(auto.encode("the mat")) == "the mat"


def test_streams_counts_and_odd_tokens(tokenizer, tmp_path):
    from safetensors.numpy import load_file

    corpus = corpus_of(["the cat", "the mat", "sat sat"], ["a", "b", "b"], [False] * 3)
    stream, owners = mini_tokens.encode(corpus, tokenizer)
    vocabulary = mini_tokens.vocabulary(tokenizer)
    assert (stream == 0).sum() == 3
    assert stream[0] == 0
    assert owners[0] == 0
    assert owners[-1] == 1
    mini_tokens.write_counts(stream, 300, tmp_path / "counts.safetensors")
    counts = load_file(tmp_path / "counts.safetensors")["count"]
    assert counts.sum() == len(stream)
    assert counts[0] == 3
    odd = mini_tokens.odd_tokens(stream, owners, ["a", "b"], vocabulary, common=300, share=0.9)
    found = dict(zip(odd["token"], odd["package"], strict=True))
    assert found.get("Ġcat") == "a"
    assert found.get("Ġmat") == "b"
    assert mini_tokens.END not in found


def test_shuffling_is_seeded():
    corpus = corpus_of(list("abcdefgh"), ["a"] * 8, [False] * 8)
    assert list(mini_tokens.shuffled(corpus, 1)["text"]) == list(mini_tokens.shuffled(corpus, 1)["text"])
    assert sorted(mini_tokens.shuffled(corpus, 1)["text"]) == list("abcdefgh")
    assert np.any(mini_tokens.shuffled(corpus, 1)["text"] != mini_tokens.shuffled(corpus, 2)["text"])
