"""What the repository says of itself: one version, and prose in plain English."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
ENGLISH = REPOSITORY / "tools/lint/english.py"


def released() -> str:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def test_the_citation_that_the_crate_reads_has_the_projects_version():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == released()
    assert re.search(r"citation=.*CITATION\.cff", (REPOSITORY / "workflow/rules/page.smk").read_text(encoding="utf-8"))


def test_the_changelog_begins_with_what_is_unreleased_and_the_projects_version():
    sections = re.findall(r"^## \[?([\w.]+)", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert sections[:2] == ["Unreleased", released()]


def test_links_between_documents_lead_somewhere():
    written_later = {"docs/adding-a-dataset.md"}
    for page in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), REPOSITORY / "config/README.md"]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            path = (page.parent / target).resolve()
            assert path.exists() or path.relative_to(REPOSITORY).as_posix() in written_later, f"{page.name}: {target}"


@pytest.fixture
def english(monkeypatch, tmp_path):
    """The linter's `findings`, on a folder of its own."""
    monkeypatch.syspath_prepend(ENGLISH.parent)
    import english

    monkeypatch.setattr(english, "REPOSITORY", tmp_path)
    return english.findings


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", "The table stands\nbeside the figure."),
        ("a.py", "x = 1\n# computed anew"),
        ("a.py", "y = 2\nraise ValueError(f'{y} is no number')"),
        ("a.smk", 'rule a:\n    """Told in one line."""'),
        ("a.yaml", "key:\n  beside: what the decoder hears"),
    ],
)
def test_a_word_to_avoid_is_found_where_it_stands(english, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    (found,) = english(tmp_path / name)
    assert re.match(rf"{name}:2: '\w+( no)?': write: \w+", found)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", "The key `beside`. There is no file; it is no longer needed."),
        ("a.py", "config['beside'], rooms = 1, 2"),
        ("a.yaml", "beside: null"),
    ],
)
def test_names_in_code_and_plain_sentences_pass(english, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert english(tmp_path / name) == []
