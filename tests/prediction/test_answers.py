"""One rule turns scores into answers, for the person who decides and for each person of a verdict."""

import pytest

from dfutils.prediction.answers import Judge
from dfutils.prediction.members import ClipScore
from dfutils.pretrained import DEFAULT, resolve_detector
from dfutils.records import Label, Reason, TrackScore
from dfutils.runs.folder import RunFolder

VIEWS = ("mirrored", "compressed")


@pytest.fixture(scope="module")
def judge():
    known = RunFolder(resolve_detector(DEFAULT)).detector()
    return Judge(known.model_copy(update={"real_up_to": 0.3, "fake_from": 0.7, "views": VIEWS}))


def track_of(judge, score, *, counts=True):
    """The same scores as a verdict has them."""
    views = {name: judge.at_prior(one) for name, one in judge.probabilities_of_views(score).items()}
    return TrackScore(judge.at_prior(score.fake_probability), (), counts, views, score.distance)


@pytest.mark.parametrize(
    ("score", "label", "reason"),
    [
        (ClipScore(0.8, 0.8, None), Label.FAKE, Reason.OK),
        (ClipScore(0.5, 0.5, None), Label.UNDECIDED, Reason.LOW_CONFIDENCE),
        (ClipScore(0.1, 0.1, None, (0.1, 0.2, 0.5)), Label.REAL, Reason.OK),
        (ClipScore(0.8, 0.8, None, (0.9, 0.8, 0.2)), Label.UNDECIDED, Reason.UNSTABLE),
        (ClipScore(0.8, 0.8, None, (), 0.9), Label.FAKE, Reason.OK),
        (ClipScore(0.8, 0.8, None, (), 1.1), Label.UNDECIDED, Reason.UNFAMILIAR),
        (ClipScore(0.8, 0.8, None, (0.9, 0.8, 0.2), 1.1), Label.UNDECIDED, Reason.UNFAMILIAR),
    ],
)
def test_each_person_of_a_verdict_gets_the_answer_that_would_be_the_verdict(score, label, reason, judge):
    assert judge.decide_person(score)[:2] == (label, reason)
    assert judge.label_of_person(track_of(judge, score)) == label
    rare = judge.for_prior(0.2)
    assert rare.label_of_person(track_of(rare, score)) == rare.decide_person(score)[0]
    assert judge.label_of_person(track_of(judge, score, counts=False)) == Label.UNDECIDED


def test_views_have_their_names(judge):
    score = ClipScore(0.5, 0.5, None, (0.1, 0.2, 0.3))
    assert judge.probabilities_of_views(score) == {"as_is": 0.1, "mirrored": 0.2, "compressed": 0.3}
    assert judge.probabilities_of_views(ClipScore(0.5, 0.5, None)) == {}
