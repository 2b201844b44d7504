"""Permutation tests within a subject: values of all pairs, p-values, and what is kept while a method is scored."""

import itertools
from functools import partial

import numpy as np
import pandas as pd
import pytest
from designs import DISCLOSURE, IDENTIFICATION, small_design
from scipy.stats import kstest

from fmri2img.artifacts.permutations import read_permutations, save_permutations
from fmri2img.artifacts.prediction import Prediction, save_prediction
from fmri2img.backbones.pixels import resize_matrix, resized_pictures
from fmri2img.metrics import brain, captions, features, pairs, permutation_tests, pixels, retrieval
from fmri2img.metrics.permutation_tests import PermutationTests
from fmri2img.metrics.registry import read_metrics
from fmri2img.metrics.scoring import ON_BRAIN, ON_CAPTIONS, ON_FEATURES, ON_PAIRS, ON_PIXELS, ON_RETRIEVAL
from fmri2img.paths import REPOSITORY
from fmri2img.reporting.permutation_table import permutation_cells, permutation_table
from fmri2img.stats.assignments import assignment_means, assignment_p, assignments

N = 14
REGISTRY = read_metrics(REPOSITORY / "config" / "metrics.yaml")


def encode(sentences):
    vectors = np.array([[1 + len(s), s.count("a"), s.count("e") + 0.1] for s in sentences], np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def measured(rng) -> brain.MeasuredBrain:
    voxels = pd.DataFrame({"x": range(9), "y": 0, "z": 0, "ncsnr": rng.uniform(0.2, 1, 9)})
    return brain.MeasuredBrain(
        np.arange(N), rng.normal(size=(N, 9)).astype(np.float32), np.arange(N) % 3 + 1, voxels, None
    )


def cases() -> dict:
    """Name -> the metric of (rows of predictions) and its pairs: the first is what is scored, computed anew."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, N, 20))
    b += 0.7 * a
    b[3], b[5, 2] = 0, np.nan  # a prediction without a direction, and one that is not finite
    found = {}
    for name, options in {
        "identification": {}, "identification_reverse": {}, "correlation_distance": {},
        "n_way_identification": {"ways": 5}, "n_way_top_k": {"ways": 6, "k": 2},
    }.items():  # fmt: skip
        function, made = getattr(features, name), getattr(pairs, name)
        found[name] = partial(lambda f, o, rows: f(a, b[rows], **o), function, options), partial(made, a, b, **options)
    found["all_way"] = (
        lambda rows: features.n_way_identification(a, b[rows], None),
        partial(pairs.n_way_identification, a, b, None),
    )
    for name, (pool, ways) in itertools.product(("retrieval_image", "retrieval_brain"), ((300, None), (300, 4))):
        function, made = getattr(retrieval, name), getattr(pairs, name)
        found[f"{name}_{ways}"] = (
            partial(lambda f, p, w, rows: f(a, b[rows], p, 1, w), function, pool, ways),
            partial(made, a, b, pool, 1, ways),
        )
    said = [
        "a cat",
        "the tree",
        "",
        "a sea",
        "one",
        "see the bee",
        "aaa",
        "an egg",
        "bare",
        "ape",
        "eel",
        "era",
        "ear",
        "tea",
    ]
    references = [[said[-1 - i], f"{said[i]} here"][: 1 + i % 2] for i in range(N)]
    seen = rng.normal(size=(N, 3))
    for name, options in {
        "text_cosine": {},
        "clip_score": {"pictures": seen},
        "ref_clip_score": {"pictures": seen},
    }.items():
        function, made = getattr(captions, name), getattr(pairs, name)
        found[name] = (
            partial(lambda f, o, rows: f(references, [said[r] for r in rows], encode, **o), function, options),
            partial(made, references, said, encode, **options),
        )
    here, predicted = measured(rng), rng.normal(size=(N, 9)).astype(np.float32)
    predicted[2] = 0.5
    for name, normalised in itertools.product(("brain_correlation", "voxel_correlation"), (True, False)):
        function, made = getattr(brain, name), getattr(pairs, name)
        options = {"region": "visual_cortex", "normalised": normalised}
        found[f"{name}_{normalised}"] = (
            partial(lambda f, o, rows: f(here, predicted[rows], **o), function, options),
            partial(made, here, predicted, **options),
        )
    return found


CASES = cases()


def assignment_test(
    pairs: np.ndarray, permutations: int, seed: int, higher_is_better: bool = True
) -> tuple[float, np.ndarray, float]:
    """The true assignment's mean (the diagonal's), those of random assignments, and the p-value."""
    n = len(pairs)
    observed = float(assignment_means(pairs, np.arange(n)[None])[0])
    null = assignment_means(pairs, assignments(n, permutations, seed))
    return observed, null, assignment_p(observed, null, higher_is_better)


@pytest.mark.parametrize("name", CASES)
def test_pairs_give_the_score_of_any_assignment(name):
    scored, made = CASES[name]
    matrix = made()
    single = np.ndim(scored(np.arange(N))) > 0
    for row in [np.arange(N), *assignments(N, 6, 1)]:
        values = scored(row)
        assert assignment_means(matrix, row[None])[0] == pytest.approx(np.nanmean(values), abs=1e-9), name
        if single:
            np.testing.assert_allclose(matrix[np.arange(N), row], values, atol=1e-9)


def test_pools_of_retrieval_are_those_whose_mean_the_drawn_ones_estimate():
    rng = np.random.default_rng(2)
    a = rng.normal(size=(12, 6))
    b = a + 0.8 * rng.normal(size=(12, 6))
    for name in ("retrieval_image", "retrieval_brain"):
        matrix = getattr(pairs, name)(a, b, 5, 30)
        drawn = getattr(retrieval, name)(a, b, 5, 20_000)
        np.testing.assert_allclose(np.diag(matrix), drawn, atol=0.02)


@pytest.mark.parametrize(
    ("truth", "made", "size", "pixel_size"), [(24, 24, 32, 50), (40, 64, 32, 50), (32, 20, 32, 20), (30, 33, 31, 31)]
)
@pytest.mark.parametrize("antialias", [True, False])
def test_pixcorr_of_all_pairs_equals_that_of_enlarged_pictures(truth, made, size, pixel_size, antialias, monkeypatch):
    monkeypatch.setattr(pairs, "PICTURES", 3)
    rng = np.random.default_rng(3)
    stored, drawn = (rng.integers(0, 256, (7, side, side, 3), np.uint8) for side in (truth, made))
    stored[1], drawn[4] = 128, 255  # constant: unrelated to all
    drawn[2] = 250 + drawn[2] % 3  # bright and nearly flat
    matrix = pairs.pixcorr(stored, drawn, size, pixel_size, antialias)
    large = [resized_pictures(side, size, pixel_size, antialias=antialias) for side in (stored, drawn)]
    for shift in range(7):
        rows = np.roll(np.arange(7), shift)
        np.testing.assert_allclose(matrix[np.arange(7), rows], pixels.pixcorr(large[0], large[1][rows]), atol=2e-4)


def test_a_matrix_enlarges_as_the_library_does():
    picture = np.random.default_rng(0).random((1, 20, 20, 3)).astype(np.float32)
    down = resize_matrix(20, 16, 27, antialias=True)
    expected = np.einsum("ah,nhwc,bw->nabc", down, picture, down)
    np.testing.assert_allclose(resized_pictures(picture, 16, 27, antialias=True), expected, atol=1e-5)


def test_every_metric_has_pairs_or_says_why_not():
    functions = {*ON_PIXELS, *ON_FEATURES, *ON_PAIRS, *ON_RETRIEVAL, *ON_CAPTIONS, *ON_BRAIN}
    assert functions == pairs.PAIRS.keys() | pairs.WITHOUT.keys()
    assert not pairs.PAIRS.keys() & pairs.WITHOUT.keys()


# p-values


def test_p_equals_the_formula_written_out():
    rng = np.random.default_rng(4)
    matrix = rng.normal(size=(9, 9)) + 0.5 * np.eye(9)
    observed, null, p = assignment_test(matrix, 200, seed=7)
    shuffled = np.random.default_rng(7).permuted(np.tile(np.arange(9), (200, 1)), axis=1)
    scores = [sum(matrix[i, row[i]] for i in range(9)) / 9 for row in shuffled]
    assert observed == pytest.approx(np.trace(matrix) / 9)
    np.testing.assert_allclose(null, scores)
    assert p == (1 + sum(score >= observed for score in scores)) / 201
    _, _, lower = assignment_test(-matrix, 200, seed=7, higher_is_better=False)
    assert lower == p and assignment_test(matrix, 200, seed=7)[2] == p


def test_a_perfect_decoder_has_the_least_p_and_a_useless_one_has_one():
    rng = np.random.default_rng(5)
    tokens = rng.normal(size=(30, 8))
    for made in (pairs.identification, pairs.correlation_distance):
        better = made is pairs.identification
        assert assignment_test(made(tokens, tokens), 99, 0, better)[2] == 1 / 100
    alike = np.repeat(tokens[:1], 30, axis=0)
    assert assignment_test(pairs.identification(tokens, alike), 99, 0)[2] > 0.02  # all assignments score about alike
    assert assignment_test(np.full((5, 5), 0.1 + 0.2), 99, 0)[2] == 1  # equal but for rounding


def test_p_is_uniform_under_the_null():
    """Of unrelated predictions p is at most alpha in at most alpha of the cases, and in nearly as many."""
    rng, found = np.random.default_rng(6), []
    for case in range(1000):
        truth, made = rng.normal(size=(2, 12, 5))
        found.append(assignment_test(pairs.identification(truth, made), 99, case)[2])
    found = np.array(found)
    assert kstest(found - rng.uniform(0, 0.01, len(found)), "uniform").pvalue > 0.01
    for alpha in (0.05, 0.2, 0.5):
        assert (found <= alpha).mean() == pytest.approx(alpha, abs=3 * np.sqrt(alpha * (1 - alpha) / 1000))


def test_an_undefined_image_is_left_out_and_undefined_means_have_no_p():
    matrix = np.arange(16.0).reshape(4, 4)
    matrix[2] = np.nan
    rows = np.array([[1, 0, 3, 2]])
    assert assignment_means(matrix, rows)[0] == pytest.approx((matrix[0, 1] + matrix[1, 0] + matrix[3, 2]) / 3)
    assert np.isnan(assignment_test(np.full((4, 4), np.nan), 20, 0)[2])
    assert np.isnan(assignment_p(np.nan, np.zeros(3)))


def test_blocks_change_nothing(monkeypatch):
    matrix, rows = np.random.default_rng(0).normal(size=(6, 6)), assignments(6, 50, 0)
    whole = assignment_means(matrix, rows)
    monkeypatch.setattr("fmri2img.stats.assignments.BLOCK", 13)
    np.testing.assert_array_equal(assignment_means(matrix, rows), whole)


# While a method is scored


@pytest.fixture
def predict(tmp_path):
    def made(name, seed=0, sessions=1, subject="subj01"):
        metadata = {"method": "ridge", "subject": subject, "sessions": sessions, "seed": seed, "test_set": "shared1000"}
        metadata |= {"split": "shared1000", "split_sha256": "0", "disclosure": DISCLOSURE}
        save_prediction(tmp_path / name, np.arange(6), metadata, captions=["a"] * 6)
        return Prediction.open(tmp_path / name)

    return made


def test_seeds_and_samples_are_averaged_under_the_same_assignment(predict):
    rng = np.random.default_rng(1)
    first, second = predict("first"), predict("second", seed=1)
    matrices = rng.normal(size=(3, 6, 6))
    kept = PermutationTests(50, {"m": REGISTRY["pixcorr"], "s": REGISTRY["ssim"]})
    for prediction, matrix in zip((first, first, second), matrices, strict=True):  # two samples, then another seed
        kept.see(prediction, "m", lambda matrix=matrix: matrix)
        kept.see(prediction, "s", None)
    found = kept.table([first, second]).set_index("metric")
    assert len(found) == 2
    mean = (matrices[0] + matrices[1]) / 4 + matrices[2] / 2
    observed, null, p = assignment_test(mean, 50, permutation_tests.SEED)
    row = found.loc["m"]
    assert (row["n_images"], row["n_seeds"], row["permutations"], row["why"]) == (6, 2, 50, "")
    assert row["observed"] == pytest.approx(observed) and row["null_mean"] == pytest.approx(null.mean())
    assert row["p"] == p
    assert np.isnan(found.loc["s", "p"]) and found.loc["s", "why"] == pairs.WITHOUT["ssim"]


def test_a_prediction_of_several_budgets_has_a_row_at_each(predict, tmp_path):
    once = predict("once", sessions=2)
    copy = once.of_cell(once.metadata and _cell(1), once.ids)
    kept = PermutationTests(19, {"m": REGISTRY["pixcorr"]})
    kept.see(once, "m", lambda: np.eye(6))
    table = kept.table([once, copy])
    assert table["sessions"].tolist() == [2, 1] and table["p"].nunique() == 1
    save_permutations(tmp_path / "ridge.parquet", table)
    pd.testing.assert_frame_equal(
        read_permutations([tmp_path / "ridge.parquet"]), table.sort_values("sessions", ignore_index=True)
    )


def _cell(sessions):
    from fmri2img.artifacts.cells import Cell

    return Cell("subj01", sessions, 0, "shared1000")


# The table


def test_p_stands_behind_the_interval_of_each_subject():
    design = small_design(
        methods={"ridge": {"title": "Ridge", "kind": "decoder"}}, seeds=[0], resamples=100,
        metrics={
            "identification": IDENTIFICATION,
            "ssim": IDENTIFICATION | {"title": "SSIM", "range": [-1, 1], "chance": None},
        },
    )  # fmt: skip
    rng, parts, tested = np.random.default_rng(0), [], []
    for (label, of_subject), metric_name in itertools.product(design.budgets.items(), design.metrics):
        for subject, sessions in of_subject.items():
            key = {
                "method": "ridge",
                "subject": subject,
                "sessions": sessions,
                "metric": metric_name,
                "split": "shared1000",
            }
            key |= {"test_set": "shared1000"}
            parts.append(pd.DataFrame(key | {"seed": 0, "image_id": range(10), "value": rng.uniform(0.6, 0.9, 10)}))
            why = "" if metric_name == "identification" else "every pair"
            p = np.nan if why else 0.0004 if label == "1" else 0.012
            tested.append(key | {"n_images": 10, "n_seeds": 1, "observed": 0.7, "null_mean": 0.5, "null_sd": 0.1,
                                 "permutations": 2500, "p": p, "why": why})  # fmt: skip
    scores = {"shared1000": pd.concat(parts, ignore_index=True)}
    cells = permutation_cells(scores, {"shared1000": design}, pd.DataFrame(tested))
    assert len(cells) == 8 and cells[cells["metric"] == "identification"]["p"].notna().all()
    table = permutation_table(cells, design)
    assert [str(column) for column in table.columns] == ["Identification (net, %) ↑"]
    assert [row.heads for row in table.rows] == [["Ridge", "subj01"], ["", "subj02"]]
    assert table.rows[0].cells[0].interval.endswith("] p 0.012")
    assert "2,500 random assignments" in table.note and "Not tested: SSIM (every pair)" in table.note
    short = permutation_table(cells, small_design(**{**vars(design), "budgets": {"1": design.budgets["1"]}}))
    assert short.rows[1].cells[0].interval.endswith("] p < 0.001")
