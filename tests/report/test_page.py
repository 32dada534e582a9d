"""The report folder: complete, self-contained, escaped, and computed from the file beside it."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from dfutils.errors import DatasetError, ReportError
from dfutils.evaluation.metrics import compute_metrics
from dfutils.evaluation.predictions import read_predictions
from dfutils.files import read_json
from dfutils.report import wording
from dfutils.report.examples import worst_mistakes
from dfutils.report.page import BACKBONE_FACT, ReportContent, write_report

HOSTILE = 'evil"><img src=//x.example/a onerror=alert(1)>.mp4'
FIGURES = {"answers", "scores", "confusion", "confusion_half", "roc", "precision_recall", "reliability", "history"}


class Page(HTMLParser):
    """Collects the references, tags and text of a page."""

    def __init__(self, html):
        super().__init__()
        self.references, self.tags, self.text, self.styles = [], [], "", ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        names = ("src", "href", "srcset", "data", "poster", "action", "xlink:href")
        self.references += [value for name, value in attributes if name in names]
        self.styles += "".join(value for name, value in attributes if name == "style")

    def handle_data(self, data):
        if self.tags[-1:] == ["style"]:
            self.styles += data
        self.text += data


def made_up(strength=0.3, count=40):
    """40 videos in 12 groups of two data sets; awkward names, and two videos without a score."""
    rng = np.random.default_rng(1)
    is_fake = np.arange(count) % 5 >= 2
    scores = np.clip(0.5 + strength * (is_fake - 0.5) + rng.normal(0, 0.15, count), 0, 1)
    scores[[7, 21]] = np.nan
    scores[0] = 0.987  # the hostile name is REAL, and the worst false positive
    names = [HOSTILE, "NA", "007", 'comma, quote" and ünï.mp4', *(f"clip {index}.mp4" for index in range(4, count))]
    return pd.DataFrame(
        {
            "label": ["UNDECIDED" if np.isnan(score) else "FAKE" if score >= 0.45 else "REAL" for score in scores],
            "video": names,
            "dataset": np.where(np.arange(count) % 2, "celebdf", "dfdc"),
            "group": [str(index % 12).zfill(3) for index in range(count)],
            "is_fake": is_fake,
            "fake_probability": scores,
        }
    )


@pytest.fixture(scope="module")
def content():
    predictions = made_up()
    crop = np.full((300, 200, 3), 120, np.uint8)
    mistakes = [replace(one, image=crop) for one in worst_mistakes(predictions, threshold=0.45)]
    return ReportContent(
        title="A <b>title</b>",
        predictions=predictions,
        threshold=0.45,
        answer_range=(0.4, 0.6),
        facts={"Detector": "tiny 0.1", BACKBONE_FACT: "random, seed 7 <none>"},
        warnings=["These clips are made up by a program."],
        history=pd.DataFrame({"epoch": [1, 2], "loss": [0.7, 0.6], "val_loss": [0.7, 0.65]}),
        leaks=["No group is in two splits."],
        mistakes=[*mistakes[:-1], replace(mistakes[-1], image=None)],
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("report") / "new" / "report"
    write_report(folder, content, resamples=200, seed=3)
    return folder


@pytest.fixture(scope="module")
def html(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_the_folder_has_exactly_the_expected_files(folder):
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "metrics.json",
        "predictions.csv",
        "report.html",
        *(f"figures/{name}.{kind}" for name in FIGURES for kind in ("png", "svg")),
    }


def test_metrics_can_be_recomputed_from_the_predictions(folder):
    predictions = read_predictions(folder / "predictions.csv")
    again = compute_metrics(predictions, threshold=0.45, resamples=200, seed=3)
    assert read_json(folder / "metrics.json") == again


def test_predictions_are_read_back_exactly_with_all_columns(folder, content):
    back = read_predictions(folder / "predictions.csv")
    assert list(back.columns) == ["video", "dataset", "group", "is_fake", "fake_probability", "label"]
    pd.testing.assert_frame_equal(back, content.predictions[list(back.columns)], check_exact=True, check_dtype=False)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, DatasetError),
        ("", DatasetError),
        ("video,dataset,group,is_fake,fake_probability\na,d,g,True,high\n", DatasetError),
        ("video,dataset,is_fake,fake_probability\na,d,True,0.5\n", ReportError),
    ],
    ids=["no file", "empty file", "score in words", "no group"],
)
def test_a_file_that_holds_no_predictions_is_refused(tmp_path, text, error):
    path = tmp_path / "predictions.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=r"predictions(\.csv)?: "):
        read_predictions(path)


def test_the_page_fetches_nothing(page, html):
    assert page.references
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    assert page.tags.count("script") == 1
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL).group(1)
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in html
    assert not re.search(r"url\(|@import|https?://", page.styles)
    assert "default-src 'none'" in html


def test_the_page_contains_every_figure(folder, html):
    for path in (folder / "figures").glob("*.svg"):
        assert base64.b64encode(path.read_bytes()).decode() in html, path.name
    assert html.count("data:image/svg+xml;base64,") == 2 * len(FIGURES)  # light and dark


def test_names_from_outside_are_escaped(page, html):
    assert HOSTILE in page.text
    assert HOSTILE not in html
    assert not any("x.example" in reference for reference in page.references)
    assert "A <b>title</b>" in page.text


def test_backbone_weights_are_the_first_line_and_warnings_come_before_numbers(page):
    body = page.text[page.text.index("Backbone weights:") :]
    assert body.startswith("Backbone weights: random, seed 7 <none>")
    assert body.index("made up by a program") < body.index("AUC")


def test_the_page_says_what_the_document_says(folder, page):
    auc = read_json(folder / "metrics.json")["auc"]
    assert f"{auc['value']:.2f} {auc['low']:.2f}–{auc['high']:.2f}" in page.text
    for words in (
        "0.693",
        "Always FAKE",
        "coin toss",
        "No group is in two splits.",
        "does not show",
        "celebdf",
        "0.99",
    ):
        assert words in page.text, words


def test_mistakes_with_a_crop_show_it(html, content):
    with_image = [mistake for mistake in content.mistakes if mistake.image is not None]
    assert with_image
    assert html.count("data:image/jpeg;base64,") == len(with_image)


def test_worst_mistakes_are_the_most_confident_ones(content):
    mistakes = worst_mistakes(content.predictions, threshold=0.45, count=2)
    assert mistakes[0].video == HOSTILE
    for is_fake in (False, True):
        scores = [mistake.fake_probability for mistake in mistakes if mistake.is_fake == is_fake]
        assert scores == sorted(scores, reverse=not is_fake)
        assert all((score < 0.45) == is_fake for score in scores)


def test_the_same_content_gives_the_same_report_and_keeps_other_files_where_there_was_none(tmp_path, content, folder):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "holiday.png").write_bytes(b"no report is here yet")
    write_report(tmp_path, content, resamples=200, seed=3)
    for path in folder.rglob("*"):
        if path.is_file():
            assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes(), path.name
    assert (tmp_path / "figures" / "holiday.png").exists()


def test_one_class_is_reported_and_older_figures_are_removed(tmp_path, content):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "roc.png").write_bytes(b"of an older report")
    (tmp_path / "metrics.json").write_text("{}")
    fakes = content.predictions[content.predictions["is_fake"]]
    metrics = write_report(tmp_path, replace(content, predictions=fakes, history=None, mistakes=()), resamples=50)
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert metrics["auc"]["value"] is None
    assert "Only FAKE videos were scored" in text
    assert "Not drawn: ROC curve: needs REAL and FAKE" in text
    assert not (tmp_path / "figures" / "roc.png").exists()


def test_nothing_is_written_when_the_predictions_are_impossible(tmp_path, content):
    wrong = content.predictions.assign(fake_probability=2.0)
    with pytest.raises(ReportError):
        write_report(tmp_path / "report", replace(content, predictions=wrong))
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("auc", "expected"),
    [
        ((0.8, 0.7, 0.9), "Better than chance"),
        ((0.6, 0.45, 0.7), "includes chance"),
        ((0.5, 0.5, 0.5), "includes chance"),
        ((0.2, 0.1, 0.3), "Worse than a coin toss"),
        ((0.8, None, None), "Too few groups"),
    ],
)
def test_the_headline_says_whether_the_interval_includes_chance(auc, expected):
    auc, answers = (dict(zip(("value", "low", "high"), one, strict=True)) for one in (auc, (0.75, 0.7, 0.8)))
    said = wording.headline({"auc": auc, "answered": answers, "answer_accuracy": answers})
    assert expected in said
    known = "75\xa0% (70–80\xa0%)"
    assert said.startswith(f"The detector answers {known} of the videos, and {known} of these answers are right. ")


@pytest.mark.parametrize(
    ("known", "renamed", "expected"),
    [
        (0, 0, ""),
        (0, None, ""),
        (2, None, " 2 of the measured groups were used in training or validation. The numbers in this report are"),
        (0, 3, " The files of 3 measured clips were used in training or validation under another name. The numbers"),
    ],
    ids=["none", "not recorded", "groups", "files"],
)
def test_the_headline_warns_if_videos_were_trained_on(known, renamed, expected):
    one = {"value": 0.8, "low": 0.7, "high": 0.9}
    leaks = {"known_to_training": known, "trained_under_another_name": renamed}
    known_words = wording.headline({"auc": one, "answered": one, "answer_accuracy": one})
    said = wording.headline({"auc": one, "answered": one, "answer_accuracy": one, "leaks": leaks})
    assert said.startswith(known_words + expected)
    assert (said == known_words) == (not expected)


def test_with_rare_fakes_most_positives_are_false():
    predictions = made_up().iloc[:10].assign(is_fake=[True] * 5 + [False] * 5, label=["FAKE"] * 6 + ["REAL"] * 4)
    metrics = compute_metrics(predictions, threshold=0.5, resamples=10)
    # All 5 fakes and 1 of 5 reals are called FAKE: 0.99 × 0.2 / (0.99 × 0.2 + 0.01 × 1) = 95.2 %.
    assert any(
        "95\xa0% of the videos that this detector calls FAKE would be REAL" in sentence
        for sentence in wording.limits(metrics)
    )


@pytest.fixture
def faultless():
    """Metrics of five people with a REAL and a FAKE video each, all of which are called rightly."""
    rows = made_up().iloc[:10].assign(is_fake=[True, False] * 5, label=["FAKE", "REAL"] * 5)
    scores = [0.95 - index / 50 if index % 2 == 0 else index / 50 for index in range(10)]
    rows = rows.assign(fake_probability=scores, group=[str(index // 2) for index in range(10)])
    return compute_metrics(rows, threshold=0.5, resamples=50)


def test_without_a_false_positive_the_share_of_false_alarms_is_told_at_the_end_of_the_interval(faultless):
    (said,) = (sentence for sentence in wording.limits(faultless) if "1 in 100" in sentence)
    # 0.99 × 0.5218 / (0.99 × 0.5218 + 0.01 × 1) = 98.1 %.
    assert "0\xa0% of the videos that this detector calls FAKE would be REAL, or 98\xa0% at the upper end" in said


def test_only_metrics_that_are_no_shares_are_said_to_have_an_interval_of_no_width(faultless):
    (said,) = (sentence for sentence in wording.limits(faultless) if "no width" in sentence)
    assert said.endswith("not that the value is certain. Here: AUC, Average precision, F1.")
    shown = {number.key: number.interval for number in wording.all_numbers(faultless)}
    assert (shown["real_called_fake"], shown["answered"]) == ("0–52\xa0%", "48–100\xa0%")
    assert "Clopper–Pearson over groups" in faultless["intervals"]


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((0.0, 0.0, 0.0), "Its AUC is the same in every resample: these videos cannot tell the two apart."),
        ((0.0, -0.1, 0.1), "Its AUC is 0.00 higher (paired, 95 % interval −0.10 to +0.10), which may be chance."),
        ((0.2, 0.1, 0.3), "Its AUC is 0.20 higher (paired, 95 % interval +0.10 to +0.30), more than chance explains."),
        ((0.1, None, None), "Its AUC is 0.10 higher, but there are too few groups for an interval."),
    ],
    ids=["the same", "chance", "better", "few groups"],
)
def test_a_difference_is_told_with_what_it_shows(ends, expected):
    assert wording.difference_sentence(dict(zip(("value", "low", "high"), ends, strict=True)), whose="Its") == expected
