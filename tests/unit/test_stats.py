import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fmri2img.stats import bootstrap
from fmri2img.stats.bootstrap import summarise
from fmri2img.stats.correlation import column_correlations, correlation_test, group_intervals
from fmri2img.stats.multiplicity import discoveries


def table(values, metric="m", method="a", first_id=0):
    """Scores of values (subjects, seeds, images)."""
    subject, seed, image = np.indices(values.shape).reshape(3, -1)
    return pd.DataFrame(
        {
            "method": method, "metric": metric, "subject": [f"subj{s + 1:02d}" for s in subject], "seed": seed,
            "image_id": (image + first_id) * 7, "value": values.ravel(),
        }
    )  # fmt: skip


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_draws_are_multinomial(rng):
    counts = bootstrap.draw_counts(40, 5000, rng)
    assert (counts.sum(axis=1) == 40).all()
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.08)
    assert counts.var() == pytest.approx(39 / 40, abs=0.02)


def test_equals_a_loop_over_the_same_draws(rng, monkeypatch):
    values = rng.random((3, 2, 12))
    values[1, 0, 3] = values[2, :, 5] = np.nan
    scores = table(values).iloc[rng.permutation(values.size)]
    result = summarise(scores, ["method", "metric"], resamples=400, confidence=0.9, seed=5).iloc[0]

    with np.errstate(invalid="ignore"):
        seeds_averaged = np.nansum(values, axis=1) / (~np.isnan(values)).sum(axis=1)
    counts = bootstrap.draw_counts(12, 400, np.random.default_rng(5))
    draws = []
    for row in counts:
        subjects = []
        for subject in seeds_averaged:
            drawn = [v for v, times in zip(subject, row.astype(int), strict=True) for _ in range(times)]
            subjects.append(np.nanmean(drawn))
        draws.append(np.mean(subjects))
    assert result["mean"] == pytest.approx(np.mean([np.nanmean(s) for s in seeds_averaged]))
    # Hesterberg's (2015) section on expanded percentiles, for the third subject's 11 images.
    beyond = stats.norm.sf(stats.t.ppf(0.95, 10) * (11 / 10) ** 0.5)
    assert result["low"] == pytest.approx(np.quantile(draws, beyond))
    assert result["high"] == pytest.approx(np.quantile(draws, 1 - beyond))
    counts = result[["n_images", "n_subjects", "n_seeds", "n_excluded"]]
    assert counts.tolist() == [12, 3, 2, 3]


def test_draws_in_blocks(rng, monkeypatch):
    monkeypatch.setattr(bootstrap, "DRAWS_BLOCK", 7)
    means = bootstrap.bootstrap_means(rng.random((9, 2)), 50, 0)
    assert means.shape == (50, 2) and np.isfinite(means).all() and len(np.unique(means[:, 0])) > 40


def test_interval_covers_the_truth_as_often_as_it_says(rng):
    """Images with a part that subjects share, seeds with noise of their own: truth is 0.3."""
    covered = 0
    for i in range(200):
        image = rng.standard_normal((1, 1, 80))
        own = rng.standard_normal((3, 1, 80))
        seed = 0.3 * rng.standard_normal((3, 2, 80))
        result = summarise(table(0.3 + image + own + seed), ["metric"], resamples=300, seed=i).iloc[0]
        covered += result["low"] <= 0.3 <= result["high"]
    # 95 % of 200 is 190 with standard deviation 3.1.
    assert 180 <= covered <= 198


@pytest.mark.parametrize("images", [8, 10, 20])
def test_intervals_of_few_images_cover_the_truth_too(rng, images):
    """Of 1,000 samples of normal values. The plain percentile interval covers 88, 90 and 93 %."""
    samples = pd.concat([table(rng.standard_normal((1, 1, images)), str(i)) for i in range(1000)])
    found = summarise(samples, ["metric"], resamples=4000)
    assert 0.92 <= ((found["low"] <= 0) & (found["high"] >= 0)).mean() <= 0.97


def test_as_many_images_as_the_subject_with_fewest_has_widen_an_interval(rng):
    values = rng.standard_normal(40)
    alone, together = table(values[:4].reshape(1, 1, -1)), table(values.reshape(1, 1, -1), first_id=100)
    both = pd.concat([alone, together.assign(subject="subj02")])
    (found,) = bootstrap.bootstrap_groups(bootstrap.image_values(both, ["metric"]), ["metric"], 100, 0).values()
    assert found.images == 4 and found.subjects == 2


def test_a_single_image_has_no_interval():
    found = summarise(table(np.ones((2, 2, 1))), ["metric"])
    assert found["mean"].item() == 1 and found[["low", "high"]].isna().all(axis=None)


def test_shared_images_are_drawn_together(rng):
    """Were subjects resampled apart, a part of the value that they share would shrink with their number."""
    image = rng.standard_normal((1, 1, 200))
    one = summarise(table(image), ["metric"], seed=0).iloc[0]
    four = summarise(table(np.repeat(image, 4, axis=0)), ["metric"], seed=0).iloc[0]
    assert four["high"] - four["low"] == pytest.approx(one["high"] - one["low"])
    apart = pd.concat([table(image, first_id=200 * s).assign(subject=f"subj{s:02d}") for s in range(4)])
    narrow = summarise(apart, ["metric"], seed=0).iloc[0]
    assert narrow["high"] - narrow["low"] < 0.6 * (one["high"] - one["low"])


def test_seeds_are_not_more_data(rng):
    values = rng.random((1, 1, 50))
    one = summarise(table(values), ["metric"])
    twenty = summarise(table(np.repeat(values, 20, axis=1)), ["metric"])
    pd.testing.assert_frame_equal(one.drop(columns="n_seeds"), twenty.drop(columns="n_seeds"))
    assert twenty["n_images"].item() == 50 and twenty["n_seeds"].item() == 20


def test_subjects_weigh_the_same_however_many_images_they_have():
    scores = pd.concat([table(np.zeros((1, 1, 90))), table(np.ones((1, 1, 10))).assign(subject="subj02")])
    assert summarise(scores, ["metric"])["mean"].item() == 0.5


def test_groups_share_their_draws_and_do_not_disturb_each_other(rng):
    a, b = table(rng.random((2, 2, 30)), "a"), table(rng.random((2, 2, 30)), "b")
    both = summarise(pd.concat([a, b]), ["metric"], resamples=200)
    alone = summarise(a, ["metric"], resamples=200)
    pd.testing.assert_frame_equal(both[both["metric"] == "a"], alone)
    assert both["metric"].tolist() == ["a", "b"]


def test_by_subject(rng):
    values = rng.random((2, 2, 30))
    result = summarise(table(values), ["subject", "metric"], resamples=200)
    np.testing.assert_allclose(result["mean"], values.mean(axis=(1, 2)))
    assert result["n_subjects"].tolist() == [1, 1]


def test_group_without_a_defined_value_is_kept_as_a_gap():
    scores = pd.concat([table(np.full((1, 1, 5), np.nan), "undefined"), table(np.ones((1, 1, 5)), "fine")])
    result = summarise(scores, ["metric"], resamples=100).set_index("metric")
    assert result.loc["undefined", ["mean", "low", "high"]].isna().all()
    assert result.loc["undefined", ["n_images", "n_excluded"]].tolist() == [0, 5]
    assert result.loc["fine", ["mean", "low", "high"]].tolist() == [1, 1, 1]


def test_mixing_what_differs_is_refused(rng):
    scores = pd.concat([table(rng.random((1, 1, 5)), method="a"), table(rng.random((1, 1, 5)), method="b")])
    with pytest.raises(ValueError, match="two values for"):
        summarise(scores, ["metric"])


def test_same_seed_same_interval(rng):
    scores = table(rng.random((1, 2, 40)))
    first, second, other = (summarise(scores, ["metric"], resamples=300, seed=s) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(first, second)
    assert first["low"].item() != other["low"].item()


def test_undefined_everywhere_gives_gaps():
    result = summarise(table(np.full((1, 1, 5), np.nan)), ["metric"], resamples=50)
    assert result[["mean", "low", "high"]].isna().all(axis=None) and result["n_excluded"].item() == 5


def test_gaps_in_different_places_keep_their_own_denominators(rng):
    values = rng.random((30, 5)) + 100
    values[4, 1] = values[4, 3] = values[7:20, 2] = np.nan
    counts = bootstrap.draw_counts(30, 64, np.random.default_rng(1))
    present = ~np.isnan(values)
    expected = (counts @ np.where(present, values, 0)) / (counts @ present)
    np.testing.assert_allclose(bootstrap.bootstrap_means(values, 64, 1), expected, rtol=1e-8)


def test_interval_agrees_with_scipy(rng):
    """The statistic and its interval, against scipy's own resampling, to the noise of 20,000 resamples."""
    values = rng.exponential(size=(1, 1, 60))
    expanded = 1 - 2 * bootstrap.tail(0.95, 60)
    settings = {"n_resamples": 20_000, "method": "percentile", "confidence_level": expanded, "rng": 1}
    expected = stats.bootstrap((values.ravel(),), np.mean, **settings)
    found = summarise(table(values), ["metric"], resamples=20_000, seed=2).iloc[0]
    spread = expected.standard_error
    assert found["low"] == pytest.approx(expected.confidence_interval.low, abs=0.05 * spread)
    assert found["high"] == pytest.approx(expected.confidence_interval.high, abs=0.05 * spread)


def test_rounding_never_leaves_the_range_of_the_values():
    """One hit in sixty: many resamples hold none, and their mean is 0, not a hair below it."""
    hits = np.zeros((1, 1, 60))
    hits[..., 7] = 1
    assert summarise(table(hits), ["metric"], resamples=500)["low"].item() == 0
    assert bootstrap.bootstrap_means(1 - hits.reshape(60, 1), 500, 0).max() == 1


# ---- correlations of predicted with measured responses


def test_column_correlations_and_their_draws_are_pearsons(rng):
    x, y = rng.standard_normal((2, 25, 600)).astype(np.float32)
    y += x
    x[:, 3] = 7.1
    found = column_correlations(x, y)
    expected = [0 if k == 3 else stats.pearsonr(x[:, k], y[:, k])[0] for k in range(600)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    groups = np.zeros((2, 600), bool)
    groups[0, 10:590], groups[1, 5] = True, True
    draws = group_intervals(x, y, groups, 40, seed=3)
    counts = bootstrap.draw_counts(25, 40, np.random.default_rng(3)).astype(int)
    drawn = [np.repeat(np.arange(25), row) for row in counts]
    expected = [
        [column_correlations(x[rows][:, group], y[rows][:, group]).mean() for group in groups] for rows in drawn
    ]
    np.testing.assert_allclose(draws, expected, atol=1e-5)


def test_p_of_a_correlation_counts_assignments_that_do_as_well(rng):
    x, y = rng.standard_normal((2, 30, 500))
    p = correlation_test(x, y, 199, seed=0)
    assert stats.kstest(p, "uniform").statistic < 0.08
    x[:, 0], x[:, 1] = y[:, 0], 1.0
    p = correlation_test(x, y, 199, seed=0)
    assert p[0] == 1 / 200 and p[1] == 1


def test_discoveries_are_those_of_benjamini_and_hochberg():
    p = np.array([0.001, 0.9, 0.012, np.nan, 0.03, 0.04])
    # Of five, sorted: .001 <= .01, .012 <= .02, .03 <= .03, .04 <= .04.
    assert discoveries(p, 0.05).tolist() == [True, False, True, False, True, True]
    assert discoveries(np.array([0.02, 0.9]), 0.03).tolist() == [False, False]
