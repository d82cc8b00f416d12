"""Collects English sentences of many kinds from what lies on a Debian machine anyway.

Nothing is downloaded: the texts are the documentation of Python and its packages, manual and info
pages, the texts of /usr/share/doc and the descriptions that the package manager knows. Sources that
a machine does not have yield nothing; the order of what is there is always the same.
"""

from __future__ import annotations

import ast
import dataclasses
import gzip
import hashlib
import html
import json
import pathlib
import re
import subprocess
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "documentation_search"))

import corpus

MOST_CHARACTERS = 400  # longer ones are tables and signatures
FEWEST_WORDS = 4
MOST_OF_A_GROUP = 1500  # sentences of one package's or program family's pages: no one dominates
WHOLE_PARAGRAPHS = 6  # one in so many short paragraphs stays whole: not every text is one sentence

PARAGRAPH_END = re.compile(r"\n\s*\n")
SENTENCE_END = re.compile(r"(?<=[.!?]) +(?=[A-Z`'\"(])")
WORD = re.compile(r"[A-Za-z]{2,}")
CODE = re.compile(
    r">>>|::|==|->|=>|\$\(|[{}<>|\\=\[\]^~]|\w\(|--\w|^\W*[$#%]|(\W ?){4}|_\w+_|\.\.\.$"
)
# Of five words and more, an English sentence has one of these.
ENGLISH = frozenset(
    {
        "a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "for", "from", "has",
        "have", "if", "in", "is", "it", "its", "no", "not", "of", "on", "or", "so", "than",
        "that", "the", "their", "then", "this", "to", "was", "when", "which", "will", "with",
        "you", "your",
    }
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Collected:
    """Distinct texts in a fixed order, how many each source gave, and what names them."""

    texts: list[str]
    by_source: dict[str, int]

    def save(self, path: pathlib.Path) -> None:
        """Writes the texts as JSON; whoever waits for the file never sees a part of it."""
        partial = path.with_suffix(path.suffix + ".part")
        partial.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")
        partial.replace(path)

    @classmethod
    def load(cls, path: pathlib.Path) -> Collected:
        """Reads what save() wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def digest(self) -> str:
        """Returns the SHA-256 of every text, as hexadecimal digits."""
        state = hashlib.sha256()
        for text in self.texts:
            state.update(text.encode("utf-8", "surrogatepass") + b"\0")
        return state.hexdigest()


def is_prose(text: str, headline: bool = False) -> bool:
    """Tells sentences from code, tables and other languages.

    headline  A description such as "database adapter for Haskell" counts, too.
    """
    if len(text) > MOST_CHARACTERS or CODE.search(text):
        return False
    words = WORD.findall(text)
    if len(words) < FEWEST_WORDS or sum(map(len, words)) < 0.65 * len(text):
        return False
    return headline or not ENGLISH.isdisjoint(word.lower() for word in words)


def sentences(text: str) -> Iterator[str]:
    """Yields the sentences of a text with empty lines between its paragraphs."""
    for paragraph in PARAGRAPH_END.split(text):
        flat = " ".join(paragraph.split())
        if is_prose(flat) and zlib.crc32(flat.encode("utf-8", "replace")) % WHOLE_PARAGRAPHS == 0:
            yield flat
            continue
        yield from filter(is_prose, SENTENCE_END.split(flat))


def documentation() -> Iterator[tuple[str, str]]:
    """Yields (group, sentence) of docstrings with a summary and a rest, as the demo reads them."""
    for entry in corpus.collect(None, 0).entries:
        for text in (entry.question, entry.document):
            for sentence in sentences(text):
                yield ".".join(entry.name.split(".")[:2]), sentence


def short_docstrings() -> Iterator[tuple[str, str]]:
    """Yields (group, sentence) of the docstrings that the demo has no use for: one line long."""
    for path, module in corpus.source_files():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                for sentence in sentences(ast.get_docstring(node) or ""):
                    yield module.partition(".")[0], sentence


def language_reference() -> Iterator[tuple[str, str]]:
    """Yields (group, sentence) of the reference of Python's language that `help()` shows."""
    from pydoc_data.topics import topics

    for name in sorted(topics):
        for sentence in sentences(topics[name]):
            yield name, sentence


ROFF_FONT = re.compile(r"\\f(\[[^]]*\]|\(..|.)|\\s[-+]?\d+|\\[&|^/,%:cd)]|\\m\[[^]]*\]")
ROFF_SIGNS = {
    r"\-": "-", r"\(aq": "'", r"\(cq": "'", r"\(oq": "'", r"\(lq": '"', r"\(rq": '"', r"\(dq": '"',
    r"\*(lq": '"', r"\*(rq": '"', r"\*(L": '"', r"\*(R": '"', r"\(em": " - ", r"\(en": "-",
    r"\(bu": "", r"\(co": "", r"\ ": " ", r"\~": " ", r"\0": " ", r"\'": "'", r"\`": "'",
}  # fmt: skip


def roff_text(source: str) -> str:
    """Returns the running text of a manual page, an empty line between its paragraphs."""
    lines: list[str] = []
    verbatim = False
    for line in source.splitlines():
        if line.startswith((".", "'")):
            macro, _, rest = line[1:].strip().partition(" ")
            if macro in ("nf", "EX", "Vb", "Bd"):
                verbatim = True
            elif macro in ("fi", "EE", "Ve", "Ed"):
                verbatim = False
            if macro in ("B", "I", "BR", "IR", "RB", "RI", "BI", "IB", "SM") and not verbatim:
                between = " " if len(macro) == 1 else ""
                words = re.findall(r'"([^"]*)"|(\S+)', rest)
                lines.append(between.join(quoted or bare for quoted, bare in words))
            else:
                lines.append("")
        elif not verbatim:
            # What is indented is set as it stands: code, mostly.
            lines.append("" if line.startswith((" ", "\t")) else line)
    text = ROFF_FONT.sub("", "\n".join(lines))
    for sign, plain in ROFF_SIGNS.items():
        text = text.replace(sign, plain)
    return text


def _read(path: pathlib.Path) -> str:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        return content.decode("utf-8", "replace")
    except (OSError, EOFError, zlib.error):
        return ""


def manual_pages(root: pathlib.Path = pathlib.Path("/usr/share/man")) -> Iterator[tuple[str, str]]:
    """Yields (group, sentence) of the English manual pages."""
    found: Counter[str] = Counter()
    for path in sorted(root.glob("man[1-9]/*")):
        family = re.split(r"[-_.:0-9]", path.name)[0]
        # A family of hundreds of pages repeats itself, so twice the sentences that can be kept do.
        if path.is_file() and not path.is_symlink() and found[family] < 2 * MOST_OF_A_GROUP:
            for sentence in sentences(roff_text(_read(path))):
                found[family] += 1
                yield family, sentence


def info_pages(root: pathlib.Path = pathlib.Path("/usr/share/info")) -> Iterator[tuple[str, str]]:
    """Yields (group, sentence) of the info manuals."""
    for path in sorted(root.glob("*.info*")):
        text = re.sub(r"\*[Nn]ote ([^:]*)::?[^.,]*", r"\1", _read(path))
        # Quotation signs of its own; an item's name has a line of its own before its text.
        text = (
            re.sub(r"^(File: .*|‘.*’)$", "", text, flags=re.MULTILINE)
            .replace("‘", "'")
            .replace("’", "'")
        )
        for sentence in sentences(text):
            yield path.name.partition(".")[0], sentence


DOCUMENT = re.compile(r"\.(txt|md|rst|html?|README|TODO)(\.gz)?$|^(README|NEWS|FAQ|INSTALL)", re.I)


def documents(root: pathlib.Path = pathlib.Path("/usr/share/doc")) -> Iterator[tuple[str, str]]:
    """Yields (group, sentence) of the packages' texts; neither lists of changes nor licences."""
    for path in sorted(root.rglob("*")):
        if not DOCUMENT.search(path.name) or re.search("changelog|licen[cs]e", path.name, re.I):
            continue
        if not path.is_file() or path.is_symlink() or path.stat().st_size > 2_000_000:
            continue
        text = _read(path)
        if ".htm" in path.name:
            text = re.sub(
                r"<(script|style|pre|head|table)\b.*?</\1>", "\n\n", text, flags=re.S | re.I
            )
            text = re.sub(r"</?(p|h\d|li|div|br|td|dd|dt)\b[^>]*>", "\n\n", text, flags=re.I)
            text = html.unescape(re.sub(r"<[^>]*>", "", text))
        else:
            text = re.sub(r"`{1,2}|\*\*|^[ \t]*([-*+#=]+|\d+[.)])[ \t]+", "", text, flags=re.M)
        for sentence in sentences(text):
            yield path.relative_to(root).parts[0], sentence


def package_descriptions() -> Iterator[tuple[str, str]]:
    """Yields (group, sentence) of the packages that the package manager knows, sorted by name."""
    try:
        listed = subprocess.run(
            ["apt-cache", "dumpavail"], capture_output=True, check=True, timeout=300
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError):
        listed = ""
    found: dict[str, str] = {}
    for record in (_read(pathlib.Path("/var/lib/dpkg/status")) + "\n\n" + listed).split("\n\n"):
        name = re.search(r"^Package: (.*)$", record, re.M)
        text = re.search(r"^Description(?:-en)?: (.*(?:\n .*)*)", record, re.M)
        if name and text:
            found.setdefault(name[1], text[1])
    for name in sorted(found):
        headline, _, rest = found[name].partition("\n")
        headline = re.sub(r"\s*[-(:][^-(:]*$", "", headline) if len(headline) > 40 else headline
        # Families of hundreds differ by their names alone; one group each.
        group = re.split(r"[-0-9.]", name)[0] if name.startswith("lib") else name
        for text in (found[name].partition("\n")[0], headline):
            if is_prose(text, headline=True):
                yield group, text
        for sentence in sentences(re.sub(r"^ \.?", "", rest, flags=re.M)):
            yield group, sentence


SOURCES: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "docstrings, as the demo reads them": documentation,
    "reference of the Python language": language_reference,
    "package descriptions": package_descriptions,
    "info manuals": info_pages,
    "texts of /usr/share/doc": documents,
    "manual pages": manual_pages,
    "other docstrings": short_docstrings,
}


def collect() -> Collected:
    """Collects every source's sentences; the same text, whatever its case, counts once."""
    seen: set[str] = set()
    texts: list[str] = []
    by_source: dict[str, int] = {}
    for name, source in SOURCES.items():
        groups: Counter[str] = Counter()
        before = len(texts)
        for group, sentence in source():
            folded = sentence.casefold()
            if folded not in seen and groups[group] < MOST_OF_A_GROUP:
                seen.add(folded)
                groups[group] += 1
                texts.append(sentence)
        by_source[name] = len(texts) - before
    return Collected(texts, by_source)
