"""What is printed at the end of a check: scores with their p-values, and what was read from elsewhere."""

from types import SimpleNamespace

import pandas as pd
from configurations import DEMO

import run_study
from fmri2img.datasets.inventory import DOWNLOADED, MADE, Source
from fmri2img.metrics.registry import read_metrics
from fmri2img.paths import REPOSITORY

METRICS = read_metrics(REPOSITORY / "config" / "metrics.yaml")
STUDY = SimpleNamespace(
    methods=["ridge", "words"],
    registries={"methods": {"ridge": {"title": "Ridge"}, "words": {"title": "Words"}}},
    metrics={name: METRICS[name] for name in ("retrieval_image", "caption_rougeL")},
    test_sets=["tau"],
)
CELL = {"subject": "sub-01", "sessions": 1}
TESTS = pd.DataFrame(
    [
        {"method": "ridge", "metric": "retrieval_image", "null_mean": 0.0096, "p": 0.0002},
        {"method": "words", "metric": "caption_rougeL"},
    ]
).assign(**CELL)


def test_a_score_has_its_interval_and_where_it_is_tested_its_chance_level_and_p():
    means = pd.DataFrame(
        [
            {"method": "ridge", "metric": "retrieval_image", "mean": 0.125, "low": 0.1, "high": 0.15},
            {"method": "ridge", "metric": "caption_rougeL"},
            {"method": "words", "metric": "caption_rougeL", "mean": 0.25, "low": 0.2, "high": 0.3},
        ]
    ).assign(**CELL | {"sessions": "1"}, n_images=104)
    heading, retrieval, caption = run_study.score_lines(means, TESTS, STUDY)
    assert heading == "sub-01, 1 session, 104 test images of tau"
    assert retrieval.startswith("  Ridge: Image retrieval  ")
    assert retrieval.endswith("  12.5 [10.0, 15.0] %  by chance 1.0, p = 0.0002")
    assert caption.split()[:2] == ["Words:", "ROUGE-L"] and caption.endswith("25.0 [20.0, 30.0] %")


def test_what_has_no_test_of_its_own_is_compared_with_the_other_methods():
    compared = pd.DataFrame(
        [
            {"metric": "caption_rougeL", "method": "words", "other": "ridge", "difference": 0.1, "p": 0.01},
            {"metric": "retrieval_image", "method": "ridge", "other": "words", "difference": 0.5, "p": 0.001},
        ]
    )
    assert list(run_study.comparison_lines(compared, TESTS, STUDY)) == ["  ROUGE-L, Ridge less Words: -0.100, p = 0.01"]


def test_what_was_downloaded_is_listed_with_its_size_and_what_is_kept_of_it(tmp_path):
    (tmp_path / "captions.csv").write_bytes(bytes(2_500_000))
    sources = [
        Source("captions", [tmp_path / "captions.csv"], DOWNLOADED, "s3://laion-fmri", 0.02),
        Source("betas of sub-01, session 1", [tmp_path / "deleted.nii.gz"], DOWNLOADED, "s3://laion-fmri", 1.3),
        Source("what a simulator made", [tmp_path], MADE, "nowhere", 0.1),
    ]
    assert list(run_study.download_lines(sources)) == [
        "  captions, from s3://laion-fmri: about 0.02 GB, of which 2.5 MB are kept there",
        "  betas of sub-01, session 1, from s3://laion-fmri: about 1.3 GB, of which 0.0 MB are kept there",
    ]


def test_a_study_without_permutation_tests_is_refused(tmp_path, monkeypatch, capsys):
    assert not DEMO["statistics"].get("permutations")
    (tmp_path / "study.yaml").write_text("study: unchecked\n")
    monkeypatch.setattr("sys.argv", ["run_study.py", str(tmp_path / "study.yaml")])
    assert run_study.main() == 1
    assert "key 'statistics.permutations': is 0, so there are no p-values" in capsys.readouterr().err
