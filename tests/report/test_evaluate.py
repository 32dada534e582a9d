"""Evaluating a run writes a complete report that flags what is wrong and is readable in a browser."""

import json
import shutil

import pandas as pd
import pytest

from dfutils.cli import main
from dfutils.errors import DatasetError, DfutilsError, ReportError, RunError
from dfutils.evaluation.predictions import read_predictions
from dfutils.evaluation.slices import SLICE
from dfutils.files import read_csv, read_json, write_json
from dfutils.report import wording
from dfutils.report.comparison import compare_runs
from dfutils.report.evaluate import evaluate
from dfutils.report.slices import column_sections
from dfutils.report.verdict_words import ONLY_FACES
from dfutils.runs.calibration import recalibrate


@pytest.fixture(scope="module")
def labels(demo_labels, tmp_path_factory):
    """The labels of the demo, with a column that half of the videos have a value in."""
    head, *lines = demo_labels.read_text().splitlines()
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    cameras = [f"{line},{'phone' if number % 2 else ''}" for number, line in enumerate(lines)]
    path.write_text("\n".join([f"{head},Camera", *cameras]))
    return path


@pytest.fixture(scope="module")
def report(demo_run, demo_faces, labels, tmp_path_factory):
    """All that the command can show about all videos, in place of an earlier report."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "metrics.json").write_text("{}")
    options = ["--split", "all", "--explain", "1", "--labels", str(labels), "--slice", "Camera"]
    assert main(["evaluate", str(demo_run), str(demo_faces), "--out", str(folder), *options]) == 0
    return folder


@pytest.fixture(scope="module")
def metrics(report):
    return read_json(report / "metrics.json")


def test_every_part_is_in_the_document_and_in_files(report, metrics):
    assert {"papers", "slices", "decisions", "calibration", "leaks", "behaviour", "explanation", "baselines"} <= set(
        metrics
    )
    tables = {path.stem for path in (report / "tables").glob("*.csv")}
    assert {
        "papers",
        "levels",
        "manipulations",
        "groups",
        "operating_points",
        "calibration",
        "leaks",
        "behaviour",
        "slice_camera",
    } <= tables
    for kind in ("png", "svg"):
        figures = {path.stem for path in (report / "figures").glob(f"*.{kind}")}
        assert {"roc", "risk_coverage", "calibration", "frames_0"} <= figures
    card = (report / "MODEL_CARD.md").read_text()
    assert all(f"## {part}" in card for part in ("Intended use", "Data", "Protocol", "Limits", "Licence"))
    assert card.count(ONLY_FACES) == 1


def test_the_page_shows_the_model_card_of_the_file(report, metrics, browser_page):
    page = browser_page.open(report / "report.html").page
    shown = page.locator("#model-card li").all_inner_texts()
    written = [line[2:] for line in (report / "MODEL_CARD.md").read_text().splitlines() if line.startswith("* ")]
    # Ignore the characters that keep an interval on one line.
    shown, written = ([line.replace("\xa0", " ").replace("\u2060", "") for line in text] for text in (shown, written))
    assert shown == written
    assert f"AUC: {metrics['auc']['value']:.2f}" in "".join(shown)


def test_videos_tracks_and_frames_have_their_own_numbers(metrics):
    rows = {row["level"]: row["rows"] for row in metrics["slices"]["levels"]}
    assert rows == {"video": 12, "track (clip)": 12, "frame": 120}


def test_the_numbers_of_papers_and_of_the_tables_are_those_of_the_document(report, metrics):
    of_level = {row["level"]: row["auc"] for row in metrics["slices"]["levels"]}
    assert {level: metrics["papers"][level]["auc"] for level in ("video", "frame")} == {
        level: of_level[level] for level in ("video", "frame")
    }
    assert metrics["papers"]["video"]["average_precision"] == metrics["average_precision"]
    table = pd.read_csv(report / "tables" / "levels.csv")
    assert table["auc"].tolist() == [auc["value"] for auc in of_level.values()]


def test_the_summary_and_the_page_say_at_the_top_that_videos_were_trained_on(report, metrics):
    assert metrics["leaks"]["known_to_training"] > 0
    warning = (
        "of the measured groups were used in training or validation. The numbers in this report are too optimistic."
    )
    assert wording.headline(metrics).endswith(warning)
    assert warning in (report / "report.html").read_text().partition('<p class="counts">')[0]


def test_the_order_of_frames_does_not_matter_to_a_model_that_averages_them(metrics):
    held = {row["change"]: row["held"] for row in metrics["behaviour"]}
    assert held["time reversed"] == held["frames shuffled"] == "yes"


def test_a_second_person_never_lowers_the_score_of_a_video(report, metrics):
    (row,) = (row for row in metrics["behaviour"] if row["change"] == "a second person added")
    scores = pd.read_csv(report / "predictions.csv")
    lowest_of_real = scores[scores["label"] == "REAL"]["fake_probability"].min()
    assert row["clips"] == len(scores)
    assert 0 < row["moved"] <= (scores["fake_probability"].max() - lowest_of_real)


def test_file_metadata_is_a_baseline(metrics):
    (row,) = metrics["baselines"]
    assert row["name"] == "File metadata only"
    assert row["difference"]["value"] == pytest.approx(metrics["auc"]["value"] - row["auc"]["value"], abs=1e-5)


@pytest.mark.parametrize(("size", "scheme"), [((390, 844), "light"), ((1400, 900), "dark")], ids=["phone", "desktop"])
def test_the_report_is_whole_in_a_browser(report, browser_page, size, scheme):
    page = browser_page.page
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(color_scheme=scheme)
    browser_page.open(report / "report.html")
    assert (browser_page.errors, browser_page.external, browser_page.failures) == ([], [], [])
    assert browser_page.broken_images() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    overflowing = """() => [...document.querySelectorAll('main *')].filter(one => {
        if (one.closest('.scroll') && !one.classList.contains('scroll')) return false;  // tables scroll in their frame
        return one.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
    }).map(one => one.outerHTML.slice(0, 80))"""
    assert page.evaluate(overflowing) == []
    visible = page.evaluate("[...document.querySelectorAll('figure img')].filter(one => one.offsetWidth > 0).length")
    assert visible == page.evaluate("document.querySelectorAll('figure').length")  # one of light and dark
    cut_off = "[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth)"
    tables = page.evaluate(f"{cut_off}.map(one => one.getAttribute('aria-label'))")
    assert (tables == []) == (size[0] == 1400)  # a desktop shows every table whole


def test_nothing_is_cut_off_in_print(report, browser_page):
    page = browser_page.page
    page.set_viewport_size({"width": 688, "height": 1000})  # A4 without its margins
    page.emulate_media(media="print", color_scheme="dark")
    browser_page.open(report / "report.html")
    too_wide = "[...document.querySelectorAll('main *')].filter(one => one.getBoundingClientRect().right > 689)"
    assert page.evaluate(f"{too_wide}.map(one => one.outerHTML.slice(0, 80))") == []
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_a_click_on_a_heading_sorts_numbers_as_numbers(report, browser_page):
    page = browser_page.open(report / "report.html").page
    column = "[...document.querySelector('#table-levels + div tbody').rows].map(row => +row.cells[1].dataset.sort)"
    heading = page.locator("#table-levels + div thead button").nth(1)
    heading.click()
    assert page.evaluate(column) == [12, 12, 120]
    heading.click()
    assert page.evaluate(column) == [120, 12, 12]


def test_several_face_datasets_are_measured_each_and_together(demo_run, demo_faces, tmp_path):
    other = shutil.copytree(demo_faces, tmp_path / "other")
    document = evaluate(demo_run, [demo_faces, other], tmp_path / "report", resamples=0, progress=False)
    first, second = document["cross"]
    assert (first["known"], first["videos"]) == ("yes", second["videos"])
    assert document["videos"] == first["videos"] + second["videos"]
    assert read_predictions(tmp_path / "report" / "predictions.csv")["video"].is_unique
    (metadata,) = document["baselines"]  # the model averages frames itself
    assert metadata["difference"]["value"] == pytest.approx(
        document["auc"]["value"] - metadata["auc"]["value"], abs=1e-5
    )
    html = (tmp_path / "report" / "report.html").read_text()
    assert all(f'<th scope="row">{name}</th>' in html for name in ("Always 0.5", "Always FAKE", "File metadata only"))


def test_a_dataset_that_is_named_twice_or_does_not_fit_is_refused(demo_run, demo_faces, tmp_path):
    with pytest.raises(ReportError, match="named twice"):
        evaluate(demo_run, [demo_faces, demo_faces], tmp_path, progress=False)
    other = shutil.copytree(demo_faces, tmp_path / "other")
    manifest, about = other / "manifest.csv", read_json(other / "extraction.json")
    manifest.write_text(manifest.read_text().replace("person_", "stranger_"))
    with pytest.raises(DfutilsError):  # its frames now belong to other clips
        evaluate(demo_run, [demo_faces, other], tmp_path / "report", progress=False)
    shutil.copy(demo_faces / "manifest.csv", manifest)
    about["settings"]["margin"] = 0.3
    write_json(other / "extraction.json", about)
    with pytest.raises(DatasetError, match="at a face margin of 0, its crops have 60 pixels, but 96 are needed"):
        evaluate(demo_run, other, tmp_path / "report", progress=False)
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("name", ["leaks.json", "run.json", "model.weights.h5"])
def test_a_run_with_a_missing_file_gives_an_error_and_no_report(demo_run, demo_faces, tmp_path, name):
    run = shutil.copytree(demo_run, tmp_path / "run")
    (run / name).unlink()
    with pytest.raises(DfutilsError, match=name.replace(".", r"\.")):
        evaluate(run, demo_faces, tmp_path / "report", resamples=0, progress=False)
    assert not (tmp_path / "report").exists()


def test_a_run_of_an_earlier_version_without_its_history_gives_an_error_and_no_report(demo_run, demo_faces, tmp_path):
    run = shutil.copytree(demo_run, tmp_path / "run")
    about = json.loads((run / "run.json").read_text())
    del about["files"]  # checksums came later
    (run / "run.json").write_text(json.dumps(about))
    (run / "history.csv").unlink()
    with pytest.raises(RunError, match=r"history\.csv: is missing\. Copy the run folder again, whole"):
        evaluate(run, demo_faces, tmp_path / "report", resamples=0, progress=False)
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("splits.csv", (",train", ",test")),
        ("run.json", ("clips", "")),
        ("detector.json", ('"threshold": 0.', '"threshold": 0.0')),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_run_with_an_altered_file_gives_an_error_and_no_report(demo_run, demo_faces, tmp_path, name, change):
    run = shutil.copytree(demo_run, tmp_path / "run")
    (old, new), text = change, (run / name).read_text()
    assert old in text
    (run / name).write_text(text.replace(old, new))
    with pytest.raises(RunError, match=rf"{name}: .*altered since training"):
        evaluate(run, demo_faces, tmp_path / "report", resamples=0, progress=False)
    with pytest.raises(RunError, match=rf"{name}: .*altered since training"):
        compare_runs([demo_run, run], demo_faces, tmp_path / "report", resamples=0, progress=False)
    assert not (tmp_path / "report").exists()


def test_a_report_of_one_class_says_so(demo_run, demo_faces, tmp_path):
    faces = shutil.copytree(demo_faces, tmp_path / "faces")
    lines = (faces / "manifest.csv").read_text().splitlines(keepends=True)
    fakes = [line for line in lines[1:] if ",true," in line.lower()]
    assert 0 < len(fakes) < len(lines) - 1
    (faces / "manifest.csv").write_text("".join([lines[0], *fakes]))
    run = shutil.copytree(demo_run, tmp_path / "run")
    recalibrate(run, min_face_pixels=5000)
    metrics = evaluate(run, faces, tmp_path / "report", split="all", resamples=20, progress=False)
    html = (tmp_path / "report" / "report.html").read_text()
    assert metrics["auc"] == {"value": None, "low": None, "high": None}
    assert "Only FAKE videos were scored" in html
    assert "ROC curve: needs REAL and FAKE" in html
    assert "Only faces of at least 5000 pixels decide. 6 of 6 scored videos have none" in html


def test_columns_of_the_labels_become_sections(report, labels, tmp_path, capsys):
    rows = read_csv(report / "tables" / "slice_camera.csv", ("value", "videos"))
    assert [row["value"] for row in rows] == ["not stated", "phone"]
    assert "By Camera" in (report / "report.html").read_text()
    command = ["evaluate", "run", "faces", "--out", str(tmp_path), "--labels", str(labels), "--slice", "age"]
    assert main(command) == 1
    assert "column 'age' is missing; besides file and label it has: group, dataset, camera. " in capsys.readouterr().err


def test_columns_whose_names_differ_in_odd_characters_have_files_of_their_own():
    names = ["camera", "a b", "a_b", "年齢", "возраст"]
    rows = [(f"v{n}", "own", f"g{n}", bool(n % 2), n / 10, "REAL", *("x" for _ in names)) for n in range(8)]
    columns = ["video", "dataset", "group", "is_fake", "fake_probability", "label", *(SLICE + name for name in names)]
    predictions = pd.DataFrame(rows, columns=columns)
    sections = column_sections(predictions, [SLICE + name for name in names], threshold=0.5, resamples=20)
    keys = ["slice_camera", "slice_a_b", "slice_a_b_2", "slice_", "slice__2"]
    assert [section.name for section in sections] == keys
    assert [section.title for section in sections] == [f"By {name}" for name in names]
