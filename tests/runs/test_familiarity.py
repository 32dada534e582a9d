"""Images unlike those of a training are far from them; new ones of the same kind are not."""

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from textures import textured

from dfutils.errors import RunError
from dfutils.files import read_csv
from dfutils.prediction.detector import Detector, load_detector, verdict_document
from dfutils.records import Label, Reason
from dfutils.runs.familiarity import Familiarity, fit_limit, is_grey
from dfutils.runs.folder import DETECTOR_EXTRAS, DETECTOR_NEEDS, RunFolder
from dfutils.settings import TrainingSettings
from dfutils.training import run as training
from dfutils.training.run import train


@pytest.fixture(scope="module")
def known():
    return Familiarity.of(textured(300, seed=1))


@pytest.fixture(scope="module")
def limit(known):
    """The distance that one in twenty of other such images exceeds."""
    return float(np.quantile([known.distance(image[None]) for image in textured(100, seed=2)], 0.95))


def grey(image):
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


UNLIKE = {
    "a drawing of few tones": lambda image: image // 64 * 85,
    "a heavy blur": lambda image: cv2.GaussianBlur(image, (0, 0), 6),
    "strong noise": lambda image: np.clip(image + np.random.default_rng(0).normal(0, 60, image.shape), 0, 255),
    "large pixels": lambda image: np.kron(image[::8, ::8], np.ones((8, 8, 1))),
    "other colours": lambda image: np.stack([image[..., 0], 255 - image[..., 0], image[..., 0] // 4], axis=-1),
    "one flat colour": lambda image: np.full_like(image, (200, 120, 90)),
}


@pytest.mark.parametrize("change", UNLIKE.values(), ids=UNLIKE)
def test_an_image_unlike_those_of_the_training_is_far_away(known, limit, change):
    changed = [known.distance(change(image).astype(np.uint8)[None]) for image in textured(10, seed=3)]
    assert min(changed) > limit


def test_a_new_image_of_the_same_kind_is_near(known, limit):
    distances = [known.distance(image[None]) for image in textured(100, seed=4)]
    assert np.mean(np.array(distances) > limit) < 0.15
    assert 0.8 < np.median(distances) < 2  # the larger of two distances of which 1 is usual


def test_a_grey_image_is_judged_by_its_contrast_alone(known, limit):
    images = [grey(image) for image in textured(20, seed=5)]
    assert all(map(is_grey, images))
    assert np.mean([known.distance(image[None]) > limit for image in images]) < 0.3


def test_grey_training_images_say_nothing_of_colours():
    images = np.stack([grey(image) for image in textured(100, seed=8)])
    images[0] = textured(1, seed=9)[0]  # a single one with colours is too few
    known = Familiarity.of(images)
    assert all(0 < known.distance(image[None]) < 50 for image in textured(5, seed=10))


def test_a_run_without_its_statistics_is_refused_at_once(familiar_run, tmp_path):
    run = shutil.copytree(familiar_run, tmp_path / "run")
    (run / "familiarity.npz").unlink()
    with pytest.raises(RunError, match=r"familiarity\.npz: is missing or was altered"):
        load_detector(run)


def test_a_published_model_has_its_statistics(familiar_run):
    names = [*DETECTOR_NEEDS, *DETECTOR_EXTRAS]
    assert RunFolder(familiar_run).familiarity_file.name in names


def test_a_clip_is_as_far_as_the_median_of_its_frames(known, limit):
    few, strange = textured(3, seed=6), textured(3, seed=6) // 64 * 85
    assert known.distance(np.stack([few[0], few[1], strange[0]])) < limit
    assert known.distance(np.stack([few[0], strange[0], strange[1]])) > limit


def test_the_limit_counts_people_and_not_clips():
    # 40 people with one clip each, and one with a hundred clips, all far away: one person of 41.
    distances = np.r_[np.linspace(1, 2, 40), np.full(100, 50.0)]
    groups = np.r_[np.arange(40), np.full(100, 40)].astype(str)
    record = fit_limit(distances, groups, sha256="")
    assert (record.limit, record.bound, record.real_groups) == (50.0, 0.03, 41)
    many = fit_limit(np.r_[distances, np.linspace(1, 2, 60)], np.r_[groups, [f"b{n}" for n in range(60)]], sha256="")
    assert many.limit < 2.1


def test_a_copy_is_read_as_it_was_and_an_altered_one_is_refused(known, tmp_path):
    path = tmp_path / "familiarity.npz"
    checksum = known.write(path)
    image = textured(1, seed=7)
    assert Familiarity.read(path, sha256=checksum).distance(image) == known.distance(image)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match="was altered since training"):
        Familiarity.read(path, sha256=checksum)
    path.unlink()
    with pytest.raises(RunError, match="is missing or was altered"):
        Familiarity.read(path, sha256=checksum)


@pytest.fixture(scope="module")
def familiar_run(demo_faces, demo_run, tmp_path_factory):
    """A run whose validation split has enough people, because the limit may be exceeded by half of them."""
    settings = TrainingSettings.read(demo_run / "settings.json")
    run = tmp_path_factory.mktemp("familiar") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "MAX_UNFAMILIAR_RATE", 0.5)
        train(demo_faces, run, settings=settings, progress=False)
    return run


def test_too_few_people_give_no_limit(demo_run):
    assert RunFolder(demo_run).detector().familiarity is None
    assert not RunFolder(demo_run).familiarity_file.exists()


def test_a_familiar_face_is_answered_and_an_unfamiliar_one_is_not(familiar_run, demo_videos):
    detector = load_detector(familiar_run)
    assert detector.settings.familiarity is not None
    usual = detector.predict(demo_videos[0])
    assert usual.reason != Reason.UNFAMILIAR
    assert usual.tracks[0].distance > 0
    narrow = detector.settings.familiarity.model_copy(update={"limit": detector.settings.familiarity.limit / 1000})
    strict = Detector(
        detector.settings.model_copy(update={"familiarity": narrow}), detector.members, familiar_run, engine="keras"
    )
    verdict = strict.predict(demo_videos[0])
    assert (verdict.label, verdict.reason) == (Label.UNDECIDED, Reason.UNFAMILIAR)
    assert "looks unlike this detector's training images" in verdict.detail
    assert verdict.fake_probability == usual.fake_probability  # is told all the same
    track = verdict_document(strict, [verdict])["verdicts"][0]["tracks"][0]
    assert track["distance"] == pytest.approx(1000 * usual.tracks[0].distance)


def test_reports_use_the_same_distance(familiar_run, demo_faces):
    from dfutils.evaluation.scoring import RunSplits, rows_of_split, score_rows

    detector = load_detector(familiar_run, engine="keras")
    splits = RunSplits(familiar_run, is_ensemble=False)
    dataset, rows = rows_of_split(familiar_run, demo_faces, detector.settings, splits, "test")
    scores = score_rows(detector, dataset, rows, splits, "test", progress=False).scores
    far = [replace(score, distance=1.5) for score in scores]
    assert all(score.distance is not None and score.distance > 0 for score in scores)
    assert detector.decide_people(far[:1], [500])[2] == Reason.UNFAMILIAR


def test_the_run_says_what_the_limit_was_fitted_on(familiar_run):
    record = RunFolder(familiar_run).detector().familiarity
    rows = [row for row in read_csv(familiar_run / "predictions.csv", ()) if row["split"] == "validation"]
    assert record.real_groups == len({row["video"].split("_")[1] for row in rows if row["is_fake"] == "false"})
