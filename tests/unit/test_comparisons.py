from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fmri2img.stats import permutation
from fmri2img.stats.bootstrap import bootstrap_groups, image_values, percentile_interval, summarise
from fmri2img.stats.multiplicity import holm, tie_groups
from fmri2img.stats.permutation import compare_methods, sign_flip_test
from fmri2img.stats.scale import between_seed_sd, normalised_score


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def table(values, method, metric="m"):
    """Scores of values (subjects, seeds, images)."""
    subject, seed, image = np.indices(values.shape).reshape(3, -1)
    key = {"method": method, "metric": metric, "subject": [f"subj{s + 1:02d}" for s in subject], "seed": seed}
    return pd.DataFrame(key | {"image_id": image * 7, "value": values.ravel()})


def scipy_p(differences, n_resamples):
    """Sign-flip test of one column, by scipy's paired permutation."""
    zeros = np.zeros_like(differences)
    result = stats.permutation_test(
        (differences, zeros), lambda a, b, axis: np.sum(a - b, axis=axis), permutation_type="samples",
        n_resamples=n_resamples, vectorized=True, rng=3,
    )  # fmt: skip
    return result.pvalue


def test_exact_p_is_that_of_all_combinations_of_signs(rng):
    contributions = rng.standard_normal((9, 4)) + 0.4
    expected = [scipy_p(column, np.inf) for column in contributions.T]
    np.testing.assert_allclose(sign_flip_test(contributions, flips=512), expected, atol=1e-12)
    by_hand = np.abs(np.array(list(product([-1, 1], repeat=9))) @ contributions)
    observed = np.abs(contributions.sum(axis=0))
    np.testing.assert_allclose(sign_flip_test(contributions), (by_hand >= observed - 1e-9).mean(axis=0), atol=1e-12)


def test_drawn_p_agrees_with_scipy_and_with_the_exact_one(rng, monkeypatch):
    monkeypatch.setattr(permutation, "SIGNS_BLOCK", 700)
    contributions = rng.normal([0, 0.15, 0.35], 1, (40, 3))
    expected = [scipy_p(column, 20_000) for column in contributions.T]
    np.testing.assert_allclose(sign_flip_test(contributions, 20_000, seed=1), expected, atol=0.012)
    small = rng.standard_normal((12, 3)) + 0.4
    np.testing.assert_allclose(sign_flip_test(small, 4095), sign_flip_test(small, 4096), atol=0.03)


def test_equal_sums_count_as_extreme():
    """Right or wrong answers differ by whole numbers, so sums coincide often: of 2 x 20 signs, exactly all-equal."""
    wins = np.concatenate([np.ones(20), np.zeros(30)])[:, None]
    assert sign_flip_test(wins, 2**20) == pytest.approx(2 / 2**20)
    mixed = np.concatenate([np.ones(9), -np.ones(3)])[:, None]
    assert sign_flip_test(mixed, 4096) == pytest.approx(stats.binomtest(9, 12).pvalue)
    many = np.concatenate([np.ones(40), -np.ones(24)])[:, None]
    assert sign_flip_test(many, 20_000) == pytest.approx(stats.binomtest(40, 64).pvalue, abs=0.006)


def test_no_difference_no_evidence():
    p = sign_flip_test(np.stack([np.zeros(30), np.full(30, np.nan)], axis=1))
    assert p[0] == 1 and np.isnan(p[1])


def test_p_is_uniform_where_methods_do_not_differ(rng):
    p = sign_flip_test(rng.standard_normal((60, 600)), 2000)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.03)


def test_difference_is_that_of_the_means_over_subjects(rng):
    first, second = rng.random((2, 3, 2, 15))
    second[1, :, 4] = np.nan
    first[2, 0, 5] = np.nan
    scores = pd.concat([table(first, "a"), table(second, "b")])
    found = compare_methods(image_values(scores, ["metric", "method"]), ["metric"]).iloc[0]
    differences = np.nanmean(first, axis=1) - second.mean(axis=1)
    assert found["difference"] == pytest.approx(np.nanmean(differences, axis=1).mean())
    assert (found["method"], found["other"], found["n_images"]) == ("a", "b", 15)


def test_seeds_and_subjects_are_not_counted_as_images(rng):
    """Copying an image's value to more seeds and subjects must not make a difference more certain."""
    difference = rng.standard_normal((1, 1, 12)) + 0.6
    copied = np.broadcast_to(difference, (4, 5, 12))
    one = pd.concat([table(difference, "a"), table(0 * difference, "b")])
    many = pd.concat([table(copied, "a"), table(0 * copied, "b")])
    p = [compare_methods(image_values(s, ["metric", "method"]), ["metric"])["p"].item() for s in (one, many)]
    assert p[0] == p[1] == pytest.approx(scipy_p(difference.ravel(), np.inf))


def test_holm_by_hand():
    """0.01 x 4; 0.02 x 3; 0.03 x 2 = 0.06, not below the one before; 0.2 x 1."""
    np.testing.assert_allclose(holm([0.03, 0.01, np.nan, 0.2, 0.02]), [0.06, 0.04, np.nan, 0.2, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.6]), [1, 1])
    assert len(holm([])) == 0


def test_holm_corrects_within_each_group(rng):
    better = rng.standard_normal((1, 1, 10)) + 0.7
    scores = [table(better, "a"), table(0 * better, "b"), table(better, "a", "n"), table(0 * better, "b", "n")]
    scores.append(table(-better, "c", "n"))
    found = compare_methods(image_values(pd.concat(scores), ["metric", "method"]), ["metric"])
    single, triple = found[found["metric"] == "m"], found[found["metric"] == "n"]
    assert len(single) == 1 and len(triple) == 3
    assert single["p_holm"].item() == single["p"].item()
    np.testing.assert_allclose(triple["p_holm"], np.minimum(holm(triple["p"]), 1))


def differing(n, pairs):
    different = np.zeros((n, n), bool)
    for first, second in pairs:
        different[first, second] = different[second, first] = True
    return different


@pytest.mark.parametrize(
    ("n", "pairs", "letters"),
    [
        (3, [], ["a", "a", "a"]),
        (3, [(0, 1), (0, 2), (1, 2)], ["a", "b", "c"]),
        (3, [(0, 2)], ["a", "ab", "b"]),
        (4, [(0, 2), (0, 3), (1, 3)], ["a", "ab", "bc", "c"]),
        (3, [(0, 1)], ["a", "b", "ab"]),
        (0, [], []),
    ],
)
def test_letters_of_planted_ties(n, pairs, letters):
    assert tie_groups(differing(n, pairs)) == letters


def test_letters_are_shared_exactly_by_what_is_not_different(rng):
    for _ in range(30):
        different = np.triu(rng.random((9, 9)) < 0.4, 1)
        different |= different.T
        letters = tie_groups(different)
        for first, second in product(range(9), repeat=2):
            if first != second:
                assert bool(set(letters[first]) & set(letters[second])) != different[first, second]


def in_draws(values, seed=0):
    scores = pd.concat([table(v, name) for name, v in values.items()])
    return bootstrap_groups(image_values(scores, ["method"]), ["method"], 2000, seed)


def test_draws_serve_all_groups_jointly(rng):
    values = {name: rng.random((2, 2, 30)) for name in "ab"}
    found = in_draws(values)
    scores = pd.concat([table(v, name) for name, v in values.items()])
    interval = summarise(scores, ["method"], resamples=2000).set_index("method")
    for name in values:
        assert found[name].mean == pytest.approx(interval.loc[name, "mean"])
        assert found[name].interval(0.95)[0] == pytest.approx(interval.loc[name, "low"])
    difference = summarise(table(values["a"] - values["b"], "d"), ["method"], resamples=2000)
    draws = found["a"].draws - found["b"].draws
    assert percentile_interval(draws, 0.95, 30)[1] == pytest.approx(difference["high"].item())


def test_normalised_score_of_known_places(rng):
    image = rng.standard_normal((2, 1, 50))
    levels = {"floor": 0.2, "ceiling": 0.8, "half": 0.5, "below": 0.1}
    found = in_draws({name: level + 0.3 * image for name, level in levels.items()})
    for name, expected in {"floor": 0, "ceiling": 1, "half": 0.5, "below": -1 / 6}.items():
        score = normalised_score(found[name], found["floor"], found["ceiling"], 0.95)
        # What images share moves all methods alike and leaves no uncertainty about the place between them.
        np.testing.assert_allclose(score, [expected] * 3, atol=1e-5)


def test_normalised_interval_covers_the_truth(rng):
    covered = 0
    for i in range(200):
        noise = rng.standard_normal((3, 2, 1, 60))
        values = dict(zip(("floor", "method", "ceiling"), 0.5 * noise + [[[[0.0]]], [[[0.6]]], [[[1.0]]]], strict=True))
        scores = pd.concat([table(v, name) for name, v in values.items()])
        found = bootstrap_groups(image_values(scores, ["method"]), ["method"], 300, i)
        parts = [found[n] for n in ("method", "floor", "ceiling")]
        _, low, high = normalised_score(*parts, 0.95)
        covered += low <= 0.6 <= high
    assert 178 <= covered <= 198


@pytest.mark.parametrize("ceiling", [0.0, 0.02, -1.0])
def test_scale_without_length_gives_no_normalised_score(rng, ceiling):
    noise = rng.standard_normal((3, 1, 1, 40))
    found = in_draws({"floor": noise[0], "ceiling": noise[1] + ceiling, "method": noise[2]})
    score = normalised_score(found["method"], found["floor"], found["ceiling"], 0.95)
    assert np.isnan(score).all()


def test_seed_sd_is_of_whole_runs(rng):
    values = rng.random((3, 4, 20))
    found = between_seed_sd(table(values, "a"), ["method"])
    assert found["a"] == pytest.approx(np.std(values.mean(axis=(0, 2)), ddof=1))
    assert np.isnan(between_seed_sd(table(values[:, :1], "a"), ["method"])["a"])
