"""What is written in the repository: links lead somewhere, the bench's page names its rows, no author's desk shows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bench.figures import FIGURES
from bench.rows import ROWS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
#: Places on one machine, and addresses of package registries: neither means anything to a reader, nor elsewhere.
#: Put together from pieces, or this file would name them itself.
FOREIGN = (
    "/" + "work/",
    "/" + "tmp/x",
    "/" + "farm/",
    "/" + "root/",
    "../" + "shared",
    "py" + "thonhosted.org",
    "py" + "pi.org",
    "npm" + "js.org",
    "deb." + "debian.org",
    "archive." + "ubuntu.com",
    "DESIGN" + ".md",
    "STYLE" + ".md",
    "PEERS" + ".md",
)


def written() -> list[Path]:
    """Every file under version control, or that would be."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_a_place_of_its_author() -> None:
    found = []
    for path in written():
        text = path.read_bytes().decode(errors="replace")
        found += [f"{path.relative_to(ROOT)}: {word}" for word in FOREIGN if word in text]
    assert found == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    local = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_the_bench_page_names_every_row() -> None:
    named = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "bench.md").read_text(), re.MULTILINE)
    assert named == [row.name for row in (*ROWS, *FIGURES)]


def test_the_makefile_does_what_its_first_lines_say() -> None:
    makefile = (ROOT / "Makefile").read_text()
    said = re.findall(r"^#   make ([\w-]+)", makefile, re.MULTILINE)
    assert said
    assert [target for target in said if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
