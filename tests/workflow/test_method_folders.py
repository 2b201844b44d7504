"""Every method's folder, ours and others', keeps to the contracts: one tiny study runs them all."""

import pytest

from check_method import run_tiny_study, under_test
from fmri2img import plugins
from fmri2img.methods.conformance import check_declared, check_expected, check_scores, expected_scores
from fmri2img.methods.registry import read_analyses, read_methods

FOLDERS = plugins.folders("methods")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    work, entries = tmp_path_factory.mktemp("conformance"), read_methods()
    methods = [method for name in FOLDERS for method in under_test(name, entries)]
    assert run_tiny_study(work, list(dict.fromkeys(methods)), [], list(read_analyses())) == []
    return work / "results" / "tiny"


@pytest.mark.parametrize("name", FOLDERS)
def test_what_a_folder_declares_exists_and_what_it_makes_is_scored_and_beats_its_floor(name, results):
    entries = under_test(name, read_methods())
    assert entries
    assert check_declared(FOLDERS[name], entries) == []
    assert check_scores(results, entries) == []


def test_expected_scores_are_of_methods_that_exist():
    entries = read_methods()
    assert set(expected_scores()) <= set(entries)
    assert {entries[method]["folder"] for method in expected_scores()} >= {"ridge", "mindeye2", "true_tokens"}


def test_a_score_outside_its_tolerance_is_reported(results):
    from fmri2img.artifacts.scores import read_scores

    table = read_scores(results / "scores" / "ridge.parquet")
    mean = table.loc[table["metric"] == "pixcorr", "value"].mean()
    assert check_expected(table, {"ridge": {"pixcorr": [mean + 0.01, 0.02]}}) == (1, [])
    compared, (problem,) = check_expected(table, {"ridge": {"pixcorr": [mean + 0.05, 0.02]}})
    assert compared == 1 and problem.startswith(f"ridge: pixcorr is {mean:.4f}, expected ")
    assert len(check_expected(table, {"nobody": {"pixcorr": [0.5, 0.1]}})[1]) == 1
