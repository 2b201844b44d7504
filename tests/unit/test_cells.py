"""Cells of a study in paths, and the resource classes of their jobs."""

import re
from types import SimpleNamespace

import pytest
from configurations import REPOSITORY

from fmri2img.artifacts.cells import ALL, Cell
from fmri2img.resources import ResourceClasses


@pytest.mark.parametrize(
    ("cell", "path"),
    [
        (Cell("subj01", 2, 0, "shared1000"), "subj01/2sessions/seed0/shared1000"),
        (Cell("CSI1", 0.166667, 3, "ood"), "CSI1/0.166667sessions/seed3/ood"),
        (Cell(ALL, ALL, ALL, "test"), "all/allsessions/seedall/test"),
    ],
)
def test_a_cell_is_found_again_in_its_path(cell, path):
    assert cell.path == path
    parts = re.fullmatch(r"(?P<subject>.+)/(?P<sessions>.+)sessions/seed(?P<seed>.+)/(?P<test_set>.+)", path)
    assert Cell.of(SimpleNamespace(**parts.groupdict())) == cell


def test_what_it_does_not_vary_with_is_all():
    cell = Cell("subj01", 2, 5, "test")
    assert cell.varying(["subject", "seed"]) == Cell("subj01", ALL, 5, "test")
    assert cell.varying([]) == Cell(ALL, ALL, ALL, "test")
    assert cell.varying(["subject", "sessions", "seed"]) == cell


def test_random_draws_have_a_seed_where_one_is_made_for_all():
    assert Cell("subj01", 2, 5, "test").noise_seed == 5 and Cell("subj01", 2, ALL, "test").noise_seed == 0


def test_every_class_that_a_rule_names_exists_at_both_sizes():
    files = [*REPOSITORY.glob("workflow/**/*.smk"), *REPOSITORY.glob("scripts/fmri2img/**/*.smk")]
    named = {name for file in files for name in re.findall(r'(?:needs|threads_of)\("(\w+)"\)', file.read_text())}
    assert named
    for size in ("laptop", "cluster"):
        classes = ResourceClasses(size)
        for name in named:
            first = classes.request(name)
            assert first["threads"] >= 1 and first["mem_mb"] > 0 and first["runtime"] > 0
            assert classes.request(name, attempt=2)["mem_mb"] == 2 * first["mem_mb"]
            assert not {"threads", "grows"} & set(classes.needs(name))


def test_a_class_that_grows_gets_its_runtime_again_with_every_attempt():
    plain, grown = (ResourceClasses("cluster").needs(name)["runtime"] for name in ("train", "fit"))
    assert isinstance(plain, int)
    first = grown(None, attempt=1)
    assert [grown(None, attempt=n) for n in (2, 3)] == [2 * first, 3 * first]
