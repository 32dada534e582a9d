import numpy as np
import pytest

from dfutils.runs.probabilities import at_prior, logit, platt_logits, sigmoid
from dfutils.runs.thresholds import HeldOutScores, choose_answers, choose_threshold, fit_decision, fit_platt


def test_platt_finds_back_how_overconfident_and_how_shifted_the_scores_are():
    rng = np.random.default_rng(0)
    honest = rng.uniform(0.02, 0.98, 8000)
    is_fake = rng.random(8000) < honest
    wrong = sigmoid(3 * (logit(honest) - 0.5))
    temperature, bias = fit_platt(is_fake, wrong)
    assert temperature == pytest.approx(3, rel=0.1)
    assert bias == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("copies", [1, 4])
def test_probabilities_are_for_an_even_mix_whatever_the_mix_of_the_clips(copies):
    is_fake = np.array([True, True, True, False, False, False] * 100)
    raw = np.array([0.9, 0.7, 0.4, 0.6, 0.3, 0.1] * 100)
    repeated = np.where(is_fake, copies, 1)
    found = fit_platt(np.repeat(is_fake, repeated), np.repeat(raw, repeated))
    # Fitted to the mix itself, four FAKE for each REAL would make 0.8 of it.
    assert sigmoid(platt_logits(np.array([0.5]), *found))[0] == pytest.approx(0.5, abs=0.01)


def test_a_few_separable_clips_do_not_ask_for_boundless_confidence():
    is_fake = np.array([True] * 4 + [False] * 4)
    scores = np.where(is_fake, 0.6, 0.4)
    probability = sigmoid(platt_logits(scores, *fit_platt(is_fake, scores)))
    # Platt's target for a class of four is 5/6.
    assert probability == pytest.approx(np.where(is_fake, 5 / 6, 1 / 6), abs=0.02)


@pytest.mark.parametrize(
    ("is_fake", "scores", "low", "high"),
    [
        pytest.param([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9], 0.2, 0.6, id="separable: in the middle of the gap"),
        pytest.param([0, 0, 0, 1], [0.1, 0.2, 0.7, 0.6], 0.2, 0.6, id="one REAL above the only FAKE"),
        pytest.param([0, 1, 1, 1], [0.5, 0.2, 0.7, 0.8], 0.5, 0.7, id="one FAKE below the only REAL"),
    ],
)
def test_the_operating_point_has_the_best_balanced_accuracy(is_fake, scores, low, high):
    threshold = choose_threshold(np.array(is_fake, bool), np.array(scores))
    assert low < threshold < high
    assert threshold == pytest.approx((low + high) / 2)


def test_another_mix_changes_the_probability_by_bayes_rule():
    # Of 1,000 videos, 100 are FAKE. A score that 9 of 10 FAKE and 1 of 10 REAL ones reach: 90 FAKE and 90 REAL.
    assert at_prior(np.array([0.9]), 0.1) == pytest.approx([0.5])
    assert at_prior(np.array([0.3, 0.8]), 0.5) == pytest.approx([0.3, 0.8])


def answers(real, fake, **bounds):
    is_fake = np.array([False] * len(real) + [True] * len(fake))
    groups = np.arange(len(is_fake)).astype(str)
    wanted = {"max_false_positive_rate": 0.03, "max_false_negative_rate": 0.1} | bounds
    return choose_answers(is_fake, np.array([*real, *fake]), groups, **wanted)


def test_with_few_groups_the_answers_begin_beyond_all_mistakes_and_the_bound_says_how_few():
    real_up_to, fake_from, costs = answers([0.1, 0.2, 0.7], [0.4, 0.8, 0.9])
    assert (real_up_to, fake_from) == pytest.approx((0.3, 0.75))
    assert (costs.false_positive_bound, costs.false_negative_bound) == (0.25, 0.25)
    assert (costs.false_positive_rate.value, costs.false_negative_rate.value) == (0, 0)
    assert costs.undecided.value == pytest.approx(1 / 3)
    assert (costs.real_groups, costs.fake_groups) == (3, 3)
    assert (costs.false_positive_rate.low, costs.false_positive_rate.high) == (0, 0.707598)  # 0 of 3 groups


def test_real_is_never_said_above_one_half_and_fake_never_below():
    # Each error rate alone would put FAKE at .3 and REAL at .7.
    real_up_to, fake_from, _ = answers([0.05, 0.1, 0.2], [0.8, 0.9, 0.95])
    assert (real_up_to, fake_from) == (0.5, 0.5)


def test_a_tolerant_bound_answers_more_and_keeps_the_promise_where_it_was_fitted():
    rng = np.random.default_rng(0)
    real, fake = np.clip(rng.normal(0.35, 0.15, 400), 0, 1), np.clip(rng.normal(0.65, 0.15, 400), 0, 1)
    strict, tolerant = (answers(real, fake, max_false_positive_rate=rate) for rate in (0.01, 0.1))
    assert strict[1] > tolerant[1] > 0.5
    for (_, fake_from, costs), rate in ((strict, 0.01), (tolerant, 0.1)):
        assert costs.false_positive_rate.value == pytest.approx((real >= fake_from).mean(), abs=1e-6)
        assert 0 < costs.false_positive_rate.value <= rate == costs.false_positive_bound
        assert costs.false_positive_rate.low <= costs.false_positive_rate.value <= costs.false_positive_rate.high


def test_clips_of_one_group_count_as_one_group():
    is_fake = np.array([False] * 40 + [True] * 40)
    scores = np.r_[np.linspace(0.1, 0.6, 40), np.linspace(0.4, 0.9, 40)]
    wanted = {"max_false_positive_rate": 0.1, "max_false_negative_rate": 0.1}
    *_, costs = choose_answers(is_fake, scores, np.array(["a", "b"] * 40), **wanted)
    assert (costs.real_groups, costs.fake_groups) == (2, 2)
    assert costs.false_positive_bound == pytest.approx(1 / 3)


def test_errors_of_one_large_group_count_by_the_clip_too():
    # 199 groups of one clip each, and one of 101 clips that all score higher: 1 group in 200, but a third of the clips.
    scores = np.r_[np.linspace(0.1, 0.4, 199), np.linspace(0.6, 0.7, 101), np.linspace(0.8, 0.9, 50)]
    groups = np.array([f"group {index}" for index in range(199)] + ["large"] * 101 + ["fake"] * 50)
    wanted = {"max_false_positive_rate": 0.03, "max_false_negative_rate": 0.1}
    _, fake_from, costs = choose_answers(np.arange(350) >= 300, scores, groups, **wanted)
    assert costs.false_positive_rate.value == 0.03  # 9 of 300
    assert np.count_nonzero(scores[:300] >= fake_from) == 9

    # The same with REAL and FAKE exchanged.
    wanted = {"max_false_positive_rate": 0.1, "max_false_negative_rate": 0.03}
    real_up_to, _, costs = choose_answers(np.arange(350) < 300, 1 - scores, groups, **wanted)
    assert costs.false_negative_rate.value == 0.03
    assert np.count_nonzero(1 - scores[:300] <= real_up_to) == 9


def test_calibration_and_thresholds_fit_together():
    rng = np.random.default_rng(1)
    is_fake = rng.random(300) < 0.7
    raw = sigmoid(rng.normal(np.where(is_fake, 2.5, 1.0), 1.0))
    fields = fit_decision(HeldOutScores(is_fake, raw, np.arange(300).astype(str)), rule="fpr_5")
    probability = sigmoid(platt_logits(raw, fields["temperature"], fields["bias"]))
    point = next(point for point in fields["operating_points"] if point.rule == "fpr_5")
    assert fields["threshold"] == point.threshold
    assert (probability >= fields["fake_from"])[~is_fake].mean() == pytest.approx(
        fields["answer_costs"].false_positive_rate.value, abs=1e-6
    )
    # The raw scores of REAL are above one half; calibration puts the middle between the classes there.
    assert (raw[~is_fake] > 0.5).mean() > 0.7
    assert (probability[~is_fake] > 0.5).mean() < 0.35
