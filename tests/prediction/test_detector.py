"""The one path from an input to a verdict."""

import shutil
from dataclasses import replace

import cv2
import keras
import numpy as np
import pytest
from rounding import SCORE

from dfutils.demo.clips import write_video
from dfutils.demo.rendering import DemoSettings, faceless_frames
from dfutils.errors import RunError
from dfutils.extraction.clips import extract_clips
from dfutils.extraction.dataset import read_face_dataset
from dfutils.extraction.faces import face_detector
from dfutils.extraction.video import iter_frames
from dfutils.files import read_csv
from dfutils.prediction.detector import Detector, load_detector, verdict_document
from dfutils.prediction.members import Member
from dfutils.prediction.outputs import plain_verdict, verdict_line
from dfutils.records import Label, Reason
from dfutils.training.backbones import build_backbone
from dfutils.training.model import build_head, compose


@pytest.fixture(scope="module")
def detector(demo_run):
    return load_detector(demo_run)


@pytest.fixture(scope="module")
def recurrent_detector(detector):
    """The same settings around an untrained GRU model."""
    frames, size = detector.settings.extraction.frames, detector.settings.extraction.size
    keras.utils.set_random_seed(0)
    head = build_head("inception_gru", frames=frames, channels=2048)
    network = compose(build_backbone("random", size=size).model, head, frames=frames, size=size)
    settings = detector.settings.model_copy(update={"name": "inception_gru", "model": "inception_gru"})
    return Detector(settings, [Member(settings, network)], detector.folder)


def test_prediction_crops_equal_training_crops_pixel_for_pixel(detector, demo_faces, demo_labels):
    dataset = read_face_dataset(demo_faces)
    for row in dataset.rows[:3]:
        _, extraction = detector.examine(demo_labels.parent / row.video)
        assert np.array_equal(extraction.clips[0].images, dataset.load_clip(row))


def test_a_video_gets_the_probability_in_predictions_csv(detector, demo_run, demo_faces, demo_labels):
    written = {row["clip_id"]: row for row in read_csv(demo_run / "predictions.csv", ("clip_id",))}
    for row in read_face_dataset(demo_faces).rows[:3]:
        verdict = detector.predict(demo_labels.parent / row.video)
        expected = float(written[row.clip_id]["fake_probability"])
        assert verdict.tracks[0].fake_probability == pytest.approx(expected, abs=SCORE)


def with_least_face(detector, pixels):
    settings = detector.settings.model_copy(update={"min_face_pixels": pixels})
    return Detector(settings, detector.members, detector.folder)


def test_a_face_that_is_too_small_is_scored_but_does_not_decide(detector, demo_videos):
    verdict = detector.predict(demo_videos[0])
    boxes = [frame.box for frame in verdict.tracks[0].frames]
    side = float(np.median([max(box.width, box.height) for box in boxes]))
    assert with_least_face(detector, int(side)).predict(demo_videos[0]) == verdict
    other = with_least_face(detector, int(side) + 1).predict(demo_videos[0])
    assert (other.label, other.reason) == (Label.UNDECIDED, Reason.LOW_CONFIDENCE)
    assert f"needs {int(side) + 1}" in other.detail
    assert [track.counts for track in (*verdict.tracks, *other.tracks)] == [True, False]
    assert other.tracks[0].frames == verdict.tracks[0].frames
    assert other.fake_probability == verdict.fake_probability


def test_a_small_face_in_the_background_does_not_decide_about_the_large_one(detector, demo_videos, tmp_path):
    frame = next(iter_frames(demo_videos[0])).image()
    height, width = frame.shape[:2]
    scene = np.zeros((height, 2 * width, 3), np.uint8)
    scene[:, :width], scene[: height // 2, width : width + width // 2] = frame, frame[::2, ::2]
    cv2.imwrite(str(tmp_path / "two.png"), scene[:, :, ::-1])
    verdict = detector.predict(tmp_path / "two.png")
    sides = [max(track.frames[0].box.width, track.frames[0].box.height) for track in verdict.tracks]
    assert len(sides) == 2
    larger = verdict.tracks[int(np.argmax(sides))].fake_probability
    decided = with_least_face(detector, int(max(sides))).predict(tmp_path / "two.png")
    assert decided.fake_probability == decided.tracks[decided.person].fake_probability == larger
    assert [track.counts for track in decided.tracks] == [side >= int(max(sides)) for side in sides]
    whose = f"2 people; the score is that of person {decided.person + 1}, the highest among faces that are large enough"
    assert whose in verdict_line(decided)
    document = plain_verdict(decided)
    assert [track["counts"] for track in document["tracks"]] == [one.counts for one in decided.tracks]
    assert document["tracks"][document["person"]]["fake_probability"] == document["fake_probability"]
    assert verdict.fake_probability == max(track.fake_probability for track in verdict.tracks)


def test_a_moved_run_folder_predicts_the_same(demo_run, detector, demo_videos, tmp_path):
    moved = load_detector(shutil.copytree(demo_run, tmp_path / "elsewhere"))
    assert moved.predict(demo_videos[0]) == detector.predict(demo_videos[0])


def test_the_order_of_time_changes_the_verdict_of_a_recurrent_model(recurrent_detector, demo_videos):
    settings = recurrent_detector.settings.extraction
    (clip,) = extract_clips(demo_videos[0], settings, face_detector(settings.min_detection_score)).clips
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, clip.images.shape, np.uint8)  # untrained features of real crops hardly differ
    images[: len(images) // 2] //= 8
    forward = recurrent_detector.score_clips(images[None])[0].raw_probability
    backward = recurrent_detector.score_clips(images[None, ::-1])[0].raw_probability
    assert forward != backward


def test_a_video_without_a_face_is_undecided(detector, tmp_path):
    frames = faceless_frames(rng=np.random.default_rng(0), settings=DemoSettings(seconds=1.0))
    write_video(tmp_path / "room.mp4", frames, fps=20)
    verdict = detector.predict(tmp_path / "room.mp4")
    assert (verdict.label, verdict.reason, verdict.fake_probability) == (Label.UNDECIDED, Reason.NO_FACE, None)
    assert verdict.detail
    assert verdict.tracks == ()


@pytest.mark.parametrize(
    ("name", "content"), [("empty.mp4", b""), ("text.mp4", b"no video" * 99), ("missing.mp4", None)]
)
def test_an_unreadable_file_is_undecided_and_the_others_are_not_lost(detector, demo_videos, tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    bad, good = detector.predict_many([tmp_path / name, demo_videos[0]])
    assert (bad.label, bad.reason) == (Label.UNDECIDED, Reason.UNREADABLE)
    assert good.reason == Reason.OK


def with_facts(detector, monkeypatch, path, *, info=None, **changes):
    """Return the verdict on an extraction that differs in these facts."""
    extraction = detector.examine(path)[1]
    other = replace(extraction, info=replace(extraction.info, **(info or {})), **changes)
    monkeypatch.setattr(detector, "_cut", lambda *_args, **_options: (other, None))
    return detector.predict(path)


@pytest.mark.parametrize("threshold", [0.0, 1.0], ids=["FAKE", "REAL"])
def test_a_file_that_was_cut_off_keeps_its_label_and_says_so(demo_run, demo_videos, monkeypatch, threshold):
    detector = load_detector(demo_run)
    detector.settings = detector.settings.model_copy(update={"threshold": threshold})
    whole = detector.predict(demo_videos[0])
    info = {"is_truncated": True, "declared_seconds": 4.0, "duration_seconds": 1.6}
    verdict = with_facts(detector, monkeypatch, demo_videos[0], info=info)
    assert (verdict.label, verdict.fake_probability) == (whole.label, whole.fake_probability)
    assert (whole.reason, verdict.reason) == (Reason.OK, Reason.INCOMPLETE)
    assert verdict.detail == "the file ends after 1.6 of 4.0 s"
    assert (whole.is_incomplete, verdict.is_incomplete) == (False, True)
    assert [plain_verdict(one)["is_incomplete"] for one in (whole, verdict)] == [False, True]


@pytest.mark.parametrize(
    ("answers_at", "expected"),
    [(0.0, (Label.FAKE, Reason.OK)), (1.0, (Label.UNDECIDED, Reason.TOO_MANY_FACES))],
)
def test_with_faces_that_were_not_looked_at_the_answer_is_never_real(
    demo_run, demo_videos, monkeypatch, answers_at, expected
):
    detector = load_detector(demo_run)
    detector.settings = detector.settings.model_copy(update={"real_up_to": answers_at, "fake_from": answers_at})
    verdict = with_facts(detector, monkeypatch, demo_videos[0], faces_left_out=7)
    assert (verdict.label, verdict.reason) == expected
    assert verdict.detail == "7 smaller faces were not examined: 100 are the most"


@pytest.fixture
def photo(demo_videos, tmp_path):
    frame = next(iter_frames(demo_videos[0])).image()
    cv2.imwrite(str(tmp_path / "photo.png"), frame[..., ::-1])
    return tmp_path / "photo.png"


def test_a_still_image_goes_to_the_frame_head(detector, photo):
    verdict = detector.predict(photo)
    assert verdict.reason == Reason.OK
    (frame,) = verdict.tracks[0].frames
    assert frame.fake_probability == pytest.approx(verdict.fake_probability, abs=1e-6)


def test_an_image_is_undecided_without_a_frame_head(recurrent_detector, photo):
    verdict = recurrent_detector.predict(photo)
    assert (verdict.label, verdict.reason) == (Label.UNDECIDED, Reason.TOO_FEW_FACES)
    assert "no frame head" in verdict.detail


def test_frame_scores_are_null_without_a_frame_head(recurrent_detector, demo_videos):
    verdict = recurrent_detector.predict(demo_videos[0])
    assert [frame.fake_probability for frame in verdict.tracks[0].frames] == [None] * 10


def test_the_answer_follows_the_two_thresholds_whatever_the_prior(detector, demo_videos):
    even = detector.predict(demo_videos[0])
    rare = detector.for_prior(0.01).predict(demo_videos[0])
    odds = even.fake_probability / (1 - even.fake_probability) / 99
    assert rare.fake_probability == pytest.approx(odds / (1 + odds), rel=1e-6)
    assert rare.tracks[0].fake_probability == rare.fake_probability
    real_up_to, fake_from = detector.settings.answer_range
    assert detector.decide(fake_from)[0] == Label.FAKE
    assert detector.decide(np.nextafter(real_up_to, 0))[0] == Label.REAL


@pytest.mark.parametrize("damage", ["remove", "alter"])
def test_altered_weights_are_refused(demo_run, tmp_path, damage):
    run = shutil.copytree(demo_run, tmp_path / "run")
    weights = run / "model.weights.h5"
    if damage == "remove":
        weights.unlink()
    else:
        content = bytearray(weights.read_bytes())
        content[-100] ^= 1
        weights.write_bytes(content)
    with pytest.raises(RunError, match="missing or was altered"):
        load_detector(run)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="not a finished run folder"):
        load_detector(tmp_path)


def test_crops_that_were_cut_differently_are_refused(detector, demo_faces):
    dataset = read_face_dataset(demo_faces)
    other = dataset.settings.model_copy(update={"margin": 0.3})
    changed = type(dataset)(dataset.folder, dataset.rows, other, dataset.about)
    with pytest.raises(RunError, match=r"margin 0\.3 instead of 0\.0"):
        detector.score_dataset(changed, changed.rows[:1], progress=False)


def test_the_document_keeps_the_order_of_the_inputs(detector, demo_videos):
    inputs = [demo_videos[2], "nowhere.mp4", demo_videos[0]]
    document = verdict_document(detector, detector.predict_many(inputs))
    assert [verdict["input"] for verdict in document["verdicts"]] == [str(path) for path in inputs]
    assert set(document["detector"]) == {"name", "version", "sha256", "real_up_to", "fake_from", "prior"}
    frame = document["verdicts"][0]["tracks"][0]["frames"][0]
    assert set(frame) == {"time_seconds", "box", "fake_probability"}
