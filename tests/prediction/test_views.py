"""Views keep the shape of the crops; a score is the mean over them, and opposite answers are none."""

import shutil

import numpy as np
import pytest
from rounding import SCORE
from textures import textured

from dfutils.errors import RunError
from dfutils.prediction.detector import Detector, load_detector
from dfutils.prediction.members import ClipScore
from dfutils.prediction.views import COPIED_FRAMES, IN_WORDS, VIEWS, mean_of_views, spread_frames
from dfutils.records import Label, Reason
from dfutils.runs.calibration import recalibrate
from dfutils.runs.folder import RunFolder
from dfutils.runs.probabilities import logit, sigmoid

NAMES = tuple(VIEWS)


@pytest.fixture(scope="module")
def detector(demo_run):
    plain = load_detector(demo_run)
    settings = plain.settings.model_copy(update={"views": NAMES, "real_up_to": 0.4, "fake_from": 0.6})
    return Detector(settings, plain.members, demo_run, engine=plain.engine)


@pytest.mark.parametrize("name", NAMES)
def test_a_view_is_a_copy_that_differs_a_little(name):
    crops = textured(2)
    seen = VIEWS[name](crops)
    assert seen.shape == crops.shape
    assert seen.dtype == np.uint8
    back = VIEWS["mirrored"](seen) if name == "mirrored" else seen
    difference = np.abs(back.astype(int) - crops).mean()
    assert difference == 0 if name == "mirrored" else 0 < difference < 10
    assert name == "mirrored" or np.corrcoef(back.ravel(), crops.ravel())[0, 1] > 0.9  # neither moved nor turned


def test_every_view_has_words():
    assert set(IN_WORDS) == {"as_is", *VIEWS}


def test_scores_of_an_image_are_averaged_as_logits():
    image, copy = ClipScore(0.2, 0.5, (0.5,)), ClipScore(0.4, 0.8, (0.8,))
    (mean,) = mean_of_views([image], [image], [[copy]])
    assert mean.raw_probability == pytest.approx(0.3)
    assert mean.fake_probability == pytest.approx(2 / 3)  # odds of 1 and 4: their geometric mean is 2
    assert mean.frame_probabilities == pytest.approx((2 / 3,))
    assert mean.view_probabilities == pytest.approx((0.5, 0.8))


def test_copies_of_some_frames_move_the_score_of_the_whole_clip():
    clip, chosen, copy = ClipScore(0.9, 0.5, (0.2, 0.8)), ClipScore(0.5, 0.2, (0.2,)), ClipScore(0.7, 0.5, (0.5,))
    (mean,) = mean_of_views([clip], [chosen], [[copy]])
    assert mean.view_probabilities == pytest.approx((0.5, 0.8))  # odds of the copy are four times those of its frames
    assert mean.fake_probability == pytest.approx(2 / 3)
    assert mean.frame_probabilities == pytest.approx((1 / 3, 8 / 9))  # odds of 1/4 and 4, twice as high
    assert mean.raw_probability == 1.0  # 0.9 + 0.2 / 2


def test_copies_are_made_of_a_few_frames_of_a_video():
    assert spread_frames(1) == [0]
    assert spread_frames(2) == [0, 1]
    chosen = spread_frames(10)
    assert (len(chosen), chosen[0], chosen[-1]) == (COPIED_FRAMES, 0, 9)


def test_a_network_that_needs_whole_clips_gets_copies_of_all_frames(detector, demo_faces, monkeypatch):
    from dfutils.extraction.dataset import read_face_dataset

    dataset = read_face_dataset(demo_faces)
    crops, copied = dataset.load_clip(dataset.rows[0]), []
    monkeypatch.setitem(VIEWS, "mirrored", lambda seen: copied.append(len(seen)) or seen[:, :, ::-1])
    detector.score_clips(crops[None])
    monkeypatch.setattr(Detector, "has_frame_head", property(lambda _: False))
    detector.score_clips(crops[None])
    assert copied == [COPIED_FRAMES, len(crops)]


def test_the_verdict_is_the_mean_over_the_views_of_its_crops(detector, demo_videos):
    verdict, cut = detector.examine(demo_videos[0])
    plain = load_detector(detector.folder, engine=detector.engine)
    crops = cut.clips[0].images
    chosen = crops[spread_frames(len(crops))]
    whole, of_chosen, *copies = (
        logit(np.array(plain.score_clips(seen[None])[0].fake_probability))
        for seen in (crops, chosen, *(VIEWS[name](chosen) for name in NAMES))
    )
    alone = sigmoid(whole + np.array([0.0, *(copy - of_chosen for copy in copies)]))
    track = verdict.tracks[0]
    assert list(track.views) == ["as_is", *NAMES]
    assert list(track.views.values()) == pytest.approx(alone.tolist(), rel=SCORE)  # other batches, other sums
    assert verdict.fake_probability == pytest.approx(float(sigmoid(np.mean(logit(np.array(alone))))), rel=SCORE)
    assert len(set(alone.tolist())) == len(alone)


def score_of_views(image, *copies):
    """The score of an image by the probability of each of its views."""
    as_is, *copied = ([ClipScore(one, one, None)] for one in (image, *copies))
    return mean_of_views(as_is, as_is, copied)[0]


@pytest.mark.parametrize(
    ("views", "label", "reason"),
    [
        ((0.7, 0.8, 0.7, 0.9), Label.FAKE, Reason.OK),
        ((0.7, 0.5, 0.7, 0.9), Label.FAKE, Reason.OK),  # one does not decide
        ((0.1, 0.5, 0.2, 0.3), Label.REAL, Reason.OK),
        ((0.95, 0.95, 0.95, 0.3), Label.UNDECIDED, Reason.UNSTABLE),
        ((0.3, 0.1, 0.1, 0.7), Label.UNDECIDED, Reason.UNSTABLE),
    ],
)
def test_opposite_answers_of_two_views_are_no_answer(detector, views, label, reason):
    score = score_of_views(*views)
    _, said, why, detail = detector.decide_people([score], [500])
    assert (said, why) == (label, reason)
    assert (why == Reason.UNSTABLE) == ("the answer changes: " in detail)


def test_the_detail_names_what_moved_the_answer(detector):
    score = score_of_views(0.95, 0.95, 0.5, 0.3)
    *_, detail = detector.decide_people([score], [500])
    assert detail == "the answer changes: FAKE for the original, FAKE when mirrored, REAL when scaled down"


def scores_of(*people):
    """Scores of people, each by probability and distance."""
    return [ClipScore(one, one, None, (), distance) for one, distance in people]


@pytest.mark.parametrize(
    ("people", "person", "label"),
    [
        (((0.99, 3.0), (0.97, 0.5)), 1, Label.FAKE),  # a drawing beside a forgery hides nothing
        (((0.1, 0.5), (0.05, 3.0)), 1, Label.UNDECIDED),  # a face that cannot be judged may be forged
        (((0.1, 0.5), (0.2, 0.5)), 1, Label.REAL),
        (((0.5, 0.5), (0.1, 3.0)), 0, Label.UNDECIDED),
    ],
)
def test_the_person_who_decides_is_one_who_can_be_judged(detector, people, person, label):
    found, said, *_ = detector.decide_people(scores_of(*people), [500, 500])
    assert (found, said) == (person, label)


def test_a_detector_with_views_is_not_calibrated_on_scores_without(demo_run, tmp_path):
    run = RunFolder(shutil.copytree(demo_run, tmp_path / "run"))
    run.detector().model_copy(update={"views": NAMES}).write(run.detector_file)
    run.refresh_checksums([run.detector_file.name])
    with pytest.raises(RunError, match="its verdicts are means over views"):
        recalibrate(run.path)


def test_a_dataset_is_scored_by_the_same_views(detector, demo_faces):
    from dfutils.extraction.dataset import read_face_dataset

    dataset = read_face_dataset(demo_faces)
    rows = dataset.rows[:2]
    scores = detector.score_dataset(dataset, rows, progress=False)
    crops = np.stack([dataset.load_clip(row) for row in rows])
    direct = Detector(detector.settings, detector.reference, detector.folder, engine="keras").score_clips(crops)
    for one, other in zip(scores, direct, strict=True):
        assert one.view_probabilities == pytest.approx(other.view_probabilities, rel=SCORE)
        assert one.fake_probability == pytest.approx(other.fake_probability, rel=SCORE)
