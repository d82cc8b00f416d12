"""The texts that the ready model is trained on: what is taken from files, and what not."""

from __future__ import annotations

import gzip
import pathlib
import sys

import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "examples" / "ready_model"
sys.path.insert(0, str(FOLDER))

import texts  # noqa: E402

PAGE = r"""
.\" A comment.
.TH LIST 1
.SH NAME
list \- print the names of the files in a folder
.SH DESCRIPTION
.PP
The program
.B list
prints the names of all files, one on each line.
It never follows a link to a folder of \fIanother\fR file\-system.
.nf
int main(void) is the code that nobody wants to read here
.fi
.PP
Exit status is the number of files that could not be read.
"""


@pytest.mark.parametrize(
    "text",
    [
        "Return the cumulative sum of the elements along an axis.",
        "This option has no effect on files that are not regular.",
        "Keep (don't delete) input files during compression or decompression.",
    ],
)
def test_sentences_are_prose(text):
    assert texts.is_prose(text)


@pytest.mark.parametrize(
    "text",
    [
        "Too short a",
        ">>> the_sum = add(1, 2) and so on for all of the rest",
        "x = the value of the option that is given to it",
        "usage: list --all --of the options are in the page",
        "Dateien werden immer alphabetisch sortiert ausgegeben",
        "0.1 0.2 0.3 the 0.4 0.5 0.6 0.7 of 0.8 0.9 1.0 is and",
        "the " * 120,
    ],
)
def test_code_tables_and_other_languages_are_not(text):
    assert not texts.is_prose(text)


def test_a_headline_needs_no_little_words():
    text = "PostgreSQL database adapter Haskell library"
    assert texts.is_prose(text, headline=True) and not texts.is_prose(text)


def test_paragraphs_come_as_sentences_or_whole():
    first, second = "The first one is here.", "The second one is here, too."
    found = list(
        texts.sentences(f"{first}\n  {second}\n\nx = 1\n\nA third is in a paragraph alone.")
    )
    assert found in (
        [first, second, "A third is in a paragraph alone."],
        [f"{first} {second}", "A third is in a paragraph alone."],
    )


def test_a_manual_page_gives_its_running_text(tmp_path):
    (tmp_path / "man1").mkdir()
    (tmp_path / "man1" / "list.1.gz").write_bytes(gzip.compress(PAGE.encode()))
    (tmp_path / "man1" / "damaged.1.gz").write_bytes(b"\x1f\x8b and no more")
    (tmp_path / "man1" / "again.1").symlink_to("list.1.gz")
    found = list(texts.manual_pages(tmp_path))
    assert {group for group, _ in found} == {"list"}
    joined = " ".join(sentence for _, sentence in found)
    assert "The program list prints the names of all files, one on each line." in joined
    assert "It never follows a link to a folder of another file-system." in joined
    assert "Exit status is the number of files that could not be read." in joined
    assert "nobody wants" not in joined and "comment" not in joined


def test_documents_are_texts_and_neither_changes_nor_licences(tmp_path):
    folder = tmp_path / "tool"
    folder.mkdir()
    for name in ("README.md", "changelog.txt", "LICENSE.txt", "data.bin"):
        (folder / name).write_text(
            f"* The sentence is of the file that is {name[:4]}, as it says.\n"
        )
    (folder / "page.html").write_text(
        "<head><title>The title is not a part of it</title></head>"
        "<p>The paragraph is <b>bold</b> &amp; it is short.</p>"
        "<pre>the code is not a part of it</pre>"
    )
    assert list(texts.documents(tmp_path)) == [
        ("tool", "The sentence is of the file that is READ, as it says."),
        ("tool", "The paragraph is bold & it is short."),
    ]


def test_a_text_counts_once_and_a_group_does_not_dominate(monkeypatch):
    many = [("big", f"The sentence of number {i} is one of many.") for i in range(3000)]
    sources = {
        "one": lambda: iter([("a", "The same is here."), ("b", "the SAME is here.")]),
        "two": lambda: iter([("a", "The same is here."), *many]),
    }
    monkeypatch.setattr(texts, "SOURCES", sources)
    first = texts.collect()
    assert first.by_source == {"one": 1, "two": texts.MOST_OF_A_GROUP}
    assert first.texts[:2] == ["The same is here.", "The sentence of number 0 is one of many."]
    assert texts.collect().digest() == first.digest()


def test_collected_texts_are_kept(tmp_path):
    collected = texts.Collected(["One text is here.", "Another, with ü, is here."], {"source": 2})
    collected.save(tmp_path / "texts.json")
    assert texts.Collected.load(tmp_path / "texts.json") == collected
    assert [path.name for path in tmp_path.iterdir()] == ["texts.json"]
