"""The pages hold together: every relative link leads to a file, every anchor to a heading, the site's menu names pages that are there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])
FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^()\s]+(?:\([^()]*\))?)\)")


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as Git hosts and mkdocs make them."""
    headings = re.findall(r"^#+\s+(.+?)\s*$", FENCE.sub("", page.read_text()), re.MULTILINE)
    slugs = [re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower()).strip() for heading in headings]
    return {re.sub(r"\s", "-", slug) for slug in slugs} | {re.sub(r"[-\s]+", "-", slug) for slug in slugs}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`\n]+`", "", FENCE.sub("", page.read_text()))
    dead = []
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):  # another host
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_the_menu_names_pages_that_are_there() -> None:
    def pages(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        values = entry.values() if isinstance(entry, dict) else entry
        assert not isinstance(values, (int, float))
        return [page for value in values for page in pages(value)]  # type: ignore[union-attr]

    menu = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert len(menu) > 10
    assert [page for page in menu if not (ROOT / "docs" / page).is_file()] == []


def test_docs_link_only_within_the_site() -> None:
    """A page of the site cannot lead to a file of the checkout."""
    outside = {
        (page.name, link)
        for page in (ROOT / "docs").glob("*.md")
        for link in re.findall(r"\]\((\.\./[^)]+)\)", page.read_text())
    }
    assert outside == set()
