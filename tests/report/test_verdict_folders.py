"""A verdict folder is measured as it is: the report on the same files, scored from face crops, says the same."""

import pandas as pd
import pytest

pytest.importorskip("openvino")
pytest.importorskip("pyarrow")

from dfutils.cli import main
from dfutils.errors import DatasetError, ReportError
from dfutils.evaluation.metrics import compute_metrics
from dfutils.evaluation.verdicts import labelled_verdicts, read_record
from dfutils.extraction.shards import WHOLE
from dfutils.files import read_json, write_csv, write_json
from dfutils.prediction.archive import ArchiveItem, predict_archive

LOST = "lost/nothing.mp4"


@pytest.fixture(scope="module")
def videos(demo_videos):
    """Both videos of three people, and a file that does not exist."""
    return [*demo_videos[:6], demo_videos[0].parent / LOST]


@pytest.fixture(scope="module")
def verdicts(detector, videos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured") / "verdicts"
    items = [ArchiveItem(f"case {number}", path) for number, path in enumerate(videos)]
    predict_archive(detector, items, folder, shard=WHOLE, progress=False)
    return folder


@pytest.fixture(scope="module")
def labels(videos, tmp_path_factory):
    """Labels by paths relative to a folder above the videos; the last file has no verdict."""
    rows = [
        {
            "file": f"{path.parent.name}/{path.name}",
            "label": "fake" if "fake" in path.name else "REAL",
            "group": path.stem.rpartition("_")[0],
            "camera": f"camera {number % 2}",
        }
        for number, path in enumerate(videos)
    ]
    table = tmp_path_factory.mktemp("labels") / "known.csv"
    write_csv(table, ("file", "label", "group", "camera"), [*rows, {**rows[0], "file": "later.mp4"}])
    return table


def test_the_numbers_are_those_of_the_verdicts_that_predict_gives(detector, videos, verdicts, labels, tmp_path):
    words = ["evaluate", "--verdicts", verdicts, "--labels", labels, "--slice", "camera", "--out", tmp_path, "--json"]
    assert main([str(word) for word in words]) == 0
    given = [detector.predict(path) for path in videos[:-1]]
    rows = [
        {
            "video": path.name,
            "dataset": "videos",
            "group": path.stem.rpartition("_")[0],
            "is_fake": "fake" in path.name,
            "fake_probability": verdict.fake_probability,
            "label": str(verdict.label),
        }
        for path, verdict in zip(videos, given, strict=False)
    ]
    lost = {**rows[0], "video": LOST, "group": "nothing", "is_fake": False, "fake_probability": float("nan")}
    wanted = compute_metrics(
        pd.DataFrame([*rows, {**lost, "label": "UNDECIDED"}]), threshold=detector.settings.threshold
    )
    metrics = read_json(tmp_path / "metrics.json")
    assert {name: metrics[name] for name in ("videos", "auc", "answered", "coverage", "log_loss")} == {
        name: wanted[name] for name in ("videos", "auc", "answered", "coverage", "log_loss")
    }
    assert metrics["decisions"]["fake_from"] == detector.answer_range[1]
    page = (tmp_path / "report.html").read_text()
    assert "7 labelled files of 7, on the engine openvino" in page
    assert "camera 1" in page


def test_what_has_no_label_or_no_verdict_is_counted(verdicts, labels, tmp_path, caplog):
    lines = labels.read_text().splitlines()
    (tmp_path / "some.csv").write_text("\n".join([*lines[:4], lines[-1]]))
    table = labelled_verdicts(verdicts, tmp_path / "some.csv")
    assert len(table) == 3
    assert "left out 4 of 7 verdicts: their files have no label" in caplog.text
    assert "1 labelled files have no verdict (first: later.mp4)" in caplog.text


def test_an_id_names_its_file(verdicts, tmp_path):
    (tmp_path / "known.csv").write_text("file,label\ncase 0,FAKE\ncase 6,REAL\n")
    table = labelled_verdicts(verdicts, tmp_path / "known.csv")
    assert list(table["video"]) == ["case 0", "case 6"]
    assert list(table["group"]) == ["case 0", "case 6"]
    assert list(table["reason"])[1] == "unreadable"


def test_an_id_that_looks_like_a_path_names_its_file_as_it_is_written(detector, videos, tmp_path):
    names = [r"camera\1", "cases//7", "./8", "cases/../9"]
    items = [ArchiveItem(name, videos[-1].with_name(f"{number}.mp4")) for number, name in enumerate(names)]
    folder = predict_archive(
        detector, [*items, ArchiveItem("another", videos[0])], tmp_path / "verdicts", shard=WHOLE, progress=False
    ).folder
    lines = [*(f"{name},REAL" for name in names), f"{videos[0].name},FAKE"]
    (tmp_path / "known.csv").write_text("\n".join(["file,label", *lines]))
    table = labelled_verdicts(folder, tmp_path / "known.csv")
    assert list(table["video"]) == [*names, videos[0].name]


def test_an_id_comes_before_the_path_of_another_verdict(detector, videos, tmp_path):
    items = [ArchiveItem(r"lost\nothing.mp4", videos[0]), ArchiveItem("another", videos[-1])]
    folder = predict_archive(detector, items, tmp_path / "verdicts", shard=WHOLE, progress=False).folder
    (tmp_path / "known.csv").write_text("file,label\nlost\\nothing.mp4,REAL\n")
    table = labelled_verdicts(folder, tmp_path / "known.csv")
    assert list(table["reason"]) == ["ok"]  # the other one is unreadable
    (tmp_path / "both.csv").write_text("file,label\nlost\\nothing.mp4,REAL\nlost/nothing.mp4,FAKE\n")
    both = labelled_verdicts(folder, tmp_path / "both.csv")
    assert list(both["is_fake"]) == [False, True]


def test_verdicts_at_another_prior_are_measured_at_the_one_of_the_calibration(
    detector, videos, verdicts, labels, tmp_path
):
    items = [ArchiveItem(f"case {number}", path) for number, path in enumerate(videos)]
    rare = predict_archive(detector.for_prior(0.01), items, tmp_path / "rare", shard=WHOLE, progress=False).folder
    even, few = labelled_verdicts(verdicts, labels), labelled_verdicts(rare, labels)
    # Probabilities near 0 and 1 are cut off before the prior is applied, and afterwards.
    wanted = pytest.approx(list(even["fake_probability"].dropna()), rel=1e-6, abs=1e-4)
    assert list(few["fake_probability"].dropna()) == wanted
    assert (few["label"] == "FAKE").sum() <= (even["label"] == "FAKE").sum()


def test_the_record_is_the_detectors(detector, verdicts):
    assert read_record(verdicts) == detector.settings


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("file,label\nother.mp4,REAL\n", "none of the 7 files with a verdict is listed"),
        ("file,label\ncase 0,REEL\n", "label 'REEL' of case 0 is unknown. Write REAL or FAKE."),
    ],
)
def test_labels_that_do_not_fit_are_refused(content, said, verdicts, tmp_path):
    (tmp_path / "known.csv").write_text(content)
    with pytest.raises(ReportError, match=said):
        labelled_verdicts(verdicts, tmp_path / "known.csv")


def test_a_file_with_two_verdicts_is_refused(detector, videos, tmp_path):
    items = [ArchiveItem("one", videos[-1]), ArchiveItem("two", videos[-1].parent / "again" / LOST)]
    folder = predict_archive(detector, items, tmp_path / "verdicts", shard=WHOLE, progress=False).folder
    (tmp_path / "known.csv").write_text(f"file,label\n{LOST},REAL\n")
    with pytest.raises(ReportError, match=r"is the file of two verdicts \(one and two\). Write longer paths"):
        labelled_verdicts(folder, tmp_path / "known.csv")


def test_a_folder_without_a_verdict_yet_or_of_an_earlier_version_is_refused(verdicts, labels, tmp_path):
    job = read_json(verdicts / "job.json")
    write_json(tmp_path / "job.json", job)
    with pytest.raises(ReportError, match="holds no verdicts yet"):
        labelled_verdicts(tmp_path, labels)
    write_json(tmp_path / "job.json", {name: value for name, value in job.items() if name != "record"})
    with pytest.raises(DatasetError, match="was made by an earlier version"):
        labelled_verdicts(tmp_path, labels)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "faces", "--verdicts", "verdicts", "--labels", "a.csv"], "they are already scored; omit RUN, FACES"),
        (["--verdicts", "verdicts"], "--verdicts needs --labels CSV"),
        (["run"], "are required: RUN and FACES or VIDEOS, or --verdicts VERDICTS"),
    ],
)
def test_wrong_use_is_refused(words, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", *words, "--out", "report"])
    assert said in capsys.readouterr().err
