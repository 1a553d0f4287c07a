"""The pages of the documentation as tests read them: code blocks, code inside lines, links."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += sorted((REPOSITORY / "docs").glob("*.md"))
PACKAGES = ("pipelines", "ssl_core", "cluster", "tests")
_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
_PATH = re.compile(rf"(?<![\w/.:$-])(?:{'|'.join(PACKAGES)}|docs|\.ci)/[\w./*-]*")
_DOTTED = re.compile(rf"(?<![\w/.])(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+(?![\w/])")


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    language: str
    text: str


def name(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def blocks(language: str) -> list[Block]:
    """Blocks of one language; "": those that name none, which hold commands and drawings."""
    found = [Block(page, m["language"], m["text"]) for page in PAGES for m in _FENCE.finditer(page.read_text())]
    return [block for block in found if block.language == language]


def inline(page: Path) -> Iterator[str]:
    """Code inside the lines of a page, joined where it runs over the end of a line."""
    for found in _INLINE.findall(_FENCE.sub("", page.read_text())):
        yield " ".join(found.split())


def links(page: Path) -> list[str]:
    """Targets inside the repository, as they are written."""
    return _LINK.findall(page.read_text())


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    titles = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def paths(page: Path) -> set[str]:
    """Files and folders of the repository that a page names; those with a placeholder in capitals are left out."""
    found = {path.rstrip(".") for path in _PATH.findall(page.read_text())}
    return {path for path in found if not re.search(r"\b[A-Z]{2,}\b", path)}


def dotted(page: Path) -> set[str]:
    """Modules, and names in modules, of the repository's packages."""
    return {name for name in _DOTTED.findall(page.read_text()) if not name.endswith((".md", ".py", ".yaml"))}


def commands() -> list[tuple[str, str]]:
    """(page, command line) of every line in a block that calls `selfray`."""
    found = []
    for block in blocks(""):
        for line in block.text.splitlines():
            parts = re.split(r"\s{2,}#|;", line)
            found += [
                (name(block.page), part.strip()) for part in parts if re.match(r"\s*(\.venv/bin/)?selfray ", part)
            ]
    return found
