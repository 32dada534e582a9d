"""Each kind of damage does what it says, scores are kept, and an interrupted test resumes."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from dfutils.errors import ReportError, RunError
from dfutils.evaluation import damage, stress
from dfutils.evaluation.damage import DAMAGES, ON_CROPS, with_fewer_frames, with_moved_boxes, write_damaged
from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.video import iter_frames
from dfutils.prediction.detector import Detector
from dfutils.records import Box, FaceClip, FaceCrop
from dfutils.report.sections import stress_section
from dfutils.runs.record import DetectorRecord


def images_of(path):
    return np.stack([frame.image() for frame in iter_frames(path)])


@pytest.fixture(scope="module")
def source(demo_videos, tmp_path_factory):
    """The beginning of a clip: a stress test uses no more of a video than `MAX_FRAMES`."""
    path = tmp_path_factory.mktemp("source") / "beginning.mp4"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(damage, "MAX_FRAMES", 12)
        write_damaged(demo_videos[0], path, "none", 0)
    return path


@pytest.fixture(scope="module")
def whole(source):
    images = images_of(source)
    assert len(images) == 12
    return images


@pytest.mark.parametrize("kind", ["jpeg", "h264", "blur", "noise"])
def test_more_strength_does_more_damage(source, whole, tmp_path, kind):
    mild, severe = DAMAGES[kind].strengths[0], DAMAGES[kind].strengths[-1]
    errors = []
    for strength in (mild, severe):
        write_damaged(source, tmp_path / f"{strength}.mp4", kind, strength)
        damaged = images_of(tmp_path / f"{strength}.mp4")
        assert damaged.shape == whole.shape
        errors.append(np.abs(damaged.astype(int) - whole).mean())
    assert errors[0] < errors[1]


def test_brightness_moves_levels_and_downscaling_the_size(source, whole, tmp_path):
    write_damaged(source, tmp_path / "dark.mp4", "brightness", -40)
    assert images_of(tmp_path / "dark.mp4").mean() == pytest.approx(np.clip(whole - 40.0, 0, 255).mean(), abs=2)
    write_damaged(source, tmp_path / "small.mp4", "downscale", 0.5)
    height, width = whole.shape[1:3]
    assert images_of(tmp_path / "small.mp4").shape[1:3] == (height // 2, width // 2)


def test_letterbox_adds_black_bars_around_the_image(source, whole, tmp_path):
    write_damaged(source, tmp_path / "barred.mp4", "letterbox", 0.4)
    barred, height = images_of(tmp_path / "barred.mp4").astype(int), whole.shape[1]
    bar = round(height * 0.2)
    assert barred.shape[1:3] == (height + 2 * bar, whole.shape[2])
    # The codec softens the edge by a row or two.
    assert max(barred[:, : bar - 2].max(), barred[:, -bar + 2 :].max()) < 16
    assert np.abs(barred[:, bar:-bar] - whole).mean() < 3


def test_dropping_frames_keeps_the_times_of_the_others(source, whole, tmp_path):
    write_damaged(source, tmp_path / "dropped.mp4", "drop", 0.5)
    kept = [frame.time_seconds for frame in iter_frames(tmp_path / "dropped.mp4")]
    times = [frame.time_seconds for frame in iter_frames(source)]
    assert 0.25 * len(whole) < len(kept) < 0.75 * len(whole)
    assert all(min(abs(time - other) for other in times) < 0.002 for time in kept)


def test_the_same_damage_twice_is_the_same_file(source, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_damaged(source, tmp_path / name, "noise", 20)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def clip_of(frames):
    crops = tuple(FaceCrop(n, n / 10, 0.0, None, Box(40, 30, 80, 70)) for n in range(frames))
    return FaceClip(np.arange(frames, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8), crops)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10])
def test_fewer_frames_are_repeated_as_in_short_tracks(count):
    shown = with_fewer_frames(clip_of(10), count)
    assert len(shown.images) == 10
    assert len(np.unique(shown.images)) == count
    assert np.all(np.diff(shown.images[:, 0, 0, 0].astype(int)) >= 0)


def test_a_shifted_box_shows_another_part_of_the_frame(source, whole):
    from dfutils.extraction.crops import crop_square

    clip = clip_of(3)
    still = with_moved_boxes(source, clip, "jitter", 0.0, size=40)
    expected = [crop_square(whole[n], clip.crops[n].square, size=40) for n in range(3)]
    assert np.array_equal(still.images, expected)
    assert not np.array_equal(with_moved_boxes(source, clip, "jitter", 0.2, size=40).images, still.images)
    wider = with_moved_boxes(source, clip, "wider", 0.5, size=60).images
    assert np.array_equal(wider[:, 10:50, 10:50], still.images)  # 10 pixels more on each side


@pytest.fixture(scope="module")
def stressed(demo_run, demo_labels, tmp_path_factory):
    """A stress test of two videos: its folder, its rows, the first image of every prediction, and the test itself.

    Predictions are the brightness of that image: a handful of clips leaves a network too sure for damage to show.
    """
    folder, seen, predict = tmp_path_factory.mktemp("stress"), [], Detector.predict
    catalogue = read_catalogue(demo_labels.parent, demo_labels)

    def seeing(detector, path):
        seen.append(next(iter_frames(path)).image().astype(int))
        return replace(predict(detector, path), fake_probability=seen[-1].mean() / 255)

    def test():
        kinds = {"h264": (42,), "letterbox": (0.4,), "frames": (5, 1)}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Detector, "predict", seeing)
            patch.setattr(damage, "MAX_FRAMES", 25)
            for name, strengths in kinds.items():
                patch.setitem(DAMAGES, name, replace(DAMAGES[name], strengths=strengths))
            return stress.stress_test(
                demo_run, catalogue, folder, kinds=list(kinds), most=2, resamples=20, progress=False
            )

    return folder, test(), seen, test


def test_untouched_videos_come_first_and_every_strength_follows(stressed):
    _, rows, *_ = stressed
    conditions = [("none", "untouched"), ("h264", "42"), ("letterbox", "0.4"), ("frames", "5"), ("frames", "1")]
    assert [(row["kind"], row["strength"]) for row in rows] == conditions
    assert all(row["coverage"] == 1 for row in rows)
    assert rows[0]["difference"]["value"] == 0
    section = stress_section(rows)
    assert [plan.name for plan in section.figures] == ["stress_h264", "stress_letterbox", "stress_frames"]
    assert section.figures[-1].draw().axes


def test_the_damaged_video_is_predicted_and_its_score_is_noted(stressed):
    folder, _, seen, _ = stressed
    untouched, squeezed, barred = (np.stack(seen[place : place + 2]) for place in (0, 2, 4))
    assert np.abs(squeezed - untouched).mean() > 1
    height, width = untouched.shape[1:3]
    assert barred.shape[1:3] == (height + 2 * round(height * 0.2), width)
    (path,) = folder.glob("stress/scores-*.jsonl")
    scores = [json.loads(line)["fake_probability"] for line in path.read_text().splitlines()]
    assert len(scores) == 10
    assert scores[:6] == pytest.approx([image.mean() / 255 for image in seen[:6]], rel=1e-5)
    assert len(set(scores[:6])) == 6


def test_only_a_video_whose_line_was_cut_off_is_scored_again(stressed, monkeypatch):
    folder, rows, _, test = stressed
    (path,) = folder.glob("stress/scores-*.jsonl")
    text = path.read_text()
    path.write_text(text[:-20])
    asked, score = [], stress._score
    monkeypatch.setattr(stress, "_score", lambda *given: (asked.append(given), score(*given))[1])
    assert test() == rows
    assert len(asked) == 1
    assert path.read_text() == text


@pytest.fixture
def new_videos(source, tmp_path):
    """A folder with a REAL and a FAKE video that the run does not know: they are of its test split."""
    for name in ("real/a.mp4", "fake/b.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True)
        shutil.copy(source, tmp_path / "videos" / name)
    return tmp_path / "videos"


def test_what_is_odd_about_the_videos_is_said_first(demo_run, new_videos, tmp_path, caplog):
    with pytest.raises(ReportError, match=r"none of the 2 videos is in its split 'train'\. Name the folder that its"):
        stress.stress_test(demo_run, read_catalogue(new_videos), tmp_path / "report", split="train")
    assert caplog.messages[0].startswith("1 FAKE file shares no group with a REAL one (first: fake/b.mp4)")


def test_a_still_image_is_left_out_and_an_empty_video_is_counted_without_a_score(demo_run, new_videos):
    (new_videos / "real" / "empty.mp4").touch()
    (new_videos / "fake" / "still.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    detector = Detector(DetectorRecord.read(demo_run / "detector.json"), [], demo_run)
    chosen = stress.choose_videos(demo_run, detector, read_catalogue(new_videos), "test", most=10)
    assert sorted(video.path.name for video in chosen) == ["a.mp4", "b.mp4", "empty.mp4"]
    for kind in ("none", "frames"):
        score = stress._score(detector, new_videos / "real" / "empty.mp4", kind, 1)
        assert score == {"fake_probability": None, "reason": "unreadable"}


def test_an_altered_run_is_refused_before_the_work(demo_run, demo_labels, tmp_path):
    run = shutil.copytree(demo_run, tmp_path / "run", ignore=shutil.ignore_patterns("model.*"))
    text = (run / "detector.json").read_text()
    (run / "detector.json").write_text(text.replace('"temperature": ', '"temperature": 1'))
    with pytest.raises(RunError, match=r"detector\.json: .*altered since training"):
        stress.stress_test(run, read_catalogue(demo_labels.parent, demo_labels), tmp_path / "report")


def test_every_kind_has_strengths_from_mild_to_severe():
    assert set(DAMAGES) > ON_CROPS
    assert all(len(damage.strengths) >= 4 for damage in DAMAGES.values())
