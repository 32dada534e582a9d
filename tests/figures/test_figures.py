"""What figures draw, checked by their artists rather than by pixels."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from dfutils.errors import ReportError
from dfutils.evaluation.metrics import compute_metrics
from dfutils.figures import results
from dfutils.figures.frames import plot_contact_sheet, plot_motion
from dfutils.figures.history import plot_history
from dfutils.figures.style import FAKE_COLOR, REAL_COLOR, dark_svg, figure_png, figure_svg
from dfutils.records import MotionTrace

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def predictions():
    """40 videos in 10 groups, 24 FAKE; a REAL and a FAKE one without a score."""
    rng = np.random.default_rng(0)
    is_fake = np.arange(40) % 5 >= 2
    scores = np.clip(0.4 + 0.2 * is_fake + rng.normal(0, 0.2, 40), 0, 1)
    scores[[3, 30]] = np.nan
    return pd.DataFrame(
        {
            "video": [f"{index}.mp4" for index in range(40)],
            "dataset": "made-up",
            "group": [f"g{index % 10}" for index in range(40)],
            "is_fake": is_fake,
            "fake_probability": scores,
        }
    )


@pytest.fixture
def history():
    return pd.DataFrame({"epoch": [1, 2], "loss": [0.7, 0.6], "val_loss": [0.7, 0.65], "note": ["a", "b"]})


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_every_figure_is_drawn_without_touching_global_state(predictions, history):
    before = dict(mpl.rcParams)
    drawn = [
        results.plot_confusion(predictions, threshold=0.5),
        results.plot_roc(predictions, resamples=50),
        results.plot_precision_recall(predictions, resamples=50),
        results.plot_scores(predictions, threshold=0.5, answer_range=(0.4, 0.7)),
        results.plot_reliability(predictions, resamples=50),
        plot_history(history),
        plot_contact_sheet(np.zeros((3, 8, 8, 3), np.uint8)),
    ]
    assert all(isinstance(figure, Figure) and figure_png(figure, dpi=40).startswith(PNG) for figure in drawn)
    assert all(figure._repr_png_().startswith(PNG) for figure in drawn[:1])  # what a notebook shows
    assert dict(mpl.rcParams) == before


def test_axes_are_named(predictions):
    for figure in (
        results.plot_roc(predictions, resamples=20),
        results.plot_precision_recall(predictions, resamples=20),
    ):
        assert figure.axes[0].get_xlabel()
        assert figure.axes[0].get_ylabel()


def test_figures_ignore_the_style_of_the_caller(predictions):
    expected = figure_png(results.plot_scores(predictions, threshold=0.5, answer_range=(0.4, 0.7)), dpi=40)
    with mpl.rc_context(
        {"figure.facecolor": "black", "font.size": 30, "xtick.color": "red", "axes.titleweight": "bold"}
    ):
        figure = results.plot_scores(predictions, threshold=0.5, answer_range=(0.4, 0.7))
    assert figure_png(figure, dpi=40) == expected


def test_a_dark_figure_has_other_tones_but_the_same_class_colours(predictions):
    for figure in (
        results.plot_scores(predictions, threshold=0.5, answer_range=(0.4, 0.7)),
        results.plot_confusion(predictions, threshold=0.5),
    ):
        light = figure_svg(figure)
        dark = dark_svg(light)
        assert light == figure_svg(figure)
        assert "#ffffff" in light
        assert not any(tone in dark for tone in ("#ffffff", "#22262b", "#656c75", "#d9dce0"))
        for color in (REAL_COLOR.lower(), FAKE_COLOR.lower()):
            assert dark.count(color) == light.count(color) > 0


def test_a_figure_keeps_its_layout_and_style_when_saved_later(predictions):
    top, bottom = results.plot_scores(predictions, threshold=0.5, answer_range=(0.4, 0.7)).axes
    assert {label.get_color() for label in top.get_yticklabels()} == {top.yaxis.label.get_color()}
    assert top.get_tightbbox().y0 >= bottom.get_tightbbox().y1


def test_a_figure_is_drawn_once_for_each_file(predictions, monkeypatch):
    figure, drawn, draw = results.plot_confusion(predictions, threshold=0.5), [], Figure.draw

    def counted(self, renderer):
        drawn.append(renderer)
        draw(self, renderer)

    monkeypatch.setattr(Figure, "draw", counted)
    figure_png(figure)
    figure_svg(figure)
    assert len(drawn) == 2


def test_confusion_shows_the_counts_and_shares_of_the_metrics(predictions):
    counts = compute_metrics(predictions, threshold=0.6, resamples=0)["confusion"]["at_threshold"]
    left, right = results.plot_confusion(predictions, threshold=0.6).axes
    names = ("real_called_real", "real_called_fake", "fake_called_real", "fake_called_fake")
    assert texts(left) == [str(counts[name]) for name in names]
    assert texts(right)[0] == f"{counts['real_called_real'] / 15:.0%}"
    assert texts(right)[3] == f"{counts['fake_called_fake'] / 23:.0%}"


def test_roc_has_the_area_and_interval_of_the_metrics(predictions):
    auc = compute_metrics(predictions, threshold=0.5, resamples=100, seed=3)["auc"]
    axes = results.plot_roc(predictions, resamples=100, seed=3).axes[0]
    curve = next(line for line in axes.lines if line.get_label() == "detector")
    assert np.trapezoid(curve.get_ydata(), curve.get_xdata()) == pytest.approx(auc["value"])
    assert axes.get_title(loc="left") == f"AUC {auc['value']:.2f} (95 %: {auc['low']:.2f}–{auc['high']:.2f})"
    assert len(axes.collections) == 1  # the band


def test_resamples_of_one_class_are_left_out_of_the_band():
    """Two REAL groups score below two FAKE ones, so that each resample with both classes has a perfect curve."""
    rows = [(f"{index}.mp4", "made-up", f"g{index}", index > 1, index / 3) for index in range(4)]
    perfect = pd.DataFrame(rows, columns=["video", "dataset", "group", "is_fake", "fake_probability"])
    band = results.plot_roc(perfect, resamples=200).axes[0].collections[0]
    assert band.get_paths()[0].vertices[:, 1].min() == 1


def test_roc_of_too_few_groups_has_no_band(predictions):
    axes = results.plot_roc(predictions.assign(group="one"), resamples=20).axes[0]
    assert not axes.collections
    assert "95" not in axes.get_title(loc="left")


def test_precision_recall_has_the_prevalence_line(predictions):
    axes = results.plot_precision_recall(predictions, resamples=20).axes[0]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([23 / 38] * 2)


def test_one_class_has_no_roc_but_the_other_figures(predictions):
    fakes = predictions[predictions["is_fake"]]
    for plot in (results.plot_roc, results.plot_precision_recall):
        with pytest.raises(ReportError, match="REAL and FAKE"):
            plot(fakes)
    assert (
        results.plot_scores(fakes, threshold=0.5, answer_range=(0.4, 0.7)).axes[0].get_title(loc="left")
        == "REAL: 0 videos"
    )
    assert texts(results.plot_confusion(fakes, threshold=0.5).axes[1])[:2] == ["–", "–"]
    assert results.plot_reliability(fakes, resamples=20)


def test_reliability_has_one_point_per_filled_bin_and_all_counts(predictions):
    top, bottom = results.plot_reliability(predictions, resamples=20).axes
    assert sum(patch.get_height() for patch in bottom.patches) == 38
    assert len(top.lines[1].get_xdata()) == sum(patch.get_height() > 0 for patch in bottom.patches)


@pytest.mark.parametrize(
    ("columns", "titles"),
    [
        (["loss", "val_loss"], ["loss"]),
        (["epoch", "loss", "auc", "val_auc", "val_only"], ["loss", "AUC", "val only"]),
        (["epoch", "learning_rate"], ["learning rate"]),
    ],
)
def test_history_has_one_panel_per_quantity(columns, titles):
    figure = plot_history(pd.DataFrame(np.ones((3, len(columns))), columns=columns))
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.axison] == titles


@pytest.mark.parametrize("history", [pd.DataFrame(), pd.DataFrame({"epoch": [1]}), pd.DataFrame({"note": ["a"]})])
def test_a_history_with_nothing_to_draw_is_refused(history):
    with pytest.raises(ReportError, match="nothing to draw"):
        plot_history(history)


def test_a_contact_sheet_takes_images_of_any_size_and_colours_titles():
    images = [np.full((height, 20, 3), 99, np.uint8) for height in (10, 20, 30)]
    figure = plot_contact_sheet(images, titles=["REAL 0.1", "FAKE 0.9", "$\\wrong{$.mp4"], columns=2)
    assert len(figure.axes) == 4
    assert [to_hex(axes.title.get_color()).upper() for axes in figure.axes[:2]] == [REAL_COLOR, FAKE_COLOR]


@pytest.mark.parametrize(("titles", "columns"), [(["one"], 2), (None, 0)])
def test_a_contact_sheet_refuses_bad_arguments(titles, columns):
    with pytest.raises(ValueError, match=r"^(titles|images, columns):"):
        plot_contact_sheet(np.zeros((2, 8, 8, 3), np.uint8), titles=titles, columns=columns)


def test_motion_marks_the_chosen_frames_at_their_motion():
    trace = MotionTrace(times_seconds=[0.0, 0.1, 0.2, 0.3], motion=[0.0, 0.01, 0.03, 0.02], cuts=[])
    (axes,) = plot_motion(trace, (0.2, 0.3, 0.2), segments=2).axes
    border, every, chosen = axes.lines
    assert border.get_xdata()[0] == pytest.approx(0.2)  # the last frame ends at 0.4
    assert every.get_ydata() == pytest.approx([0, 1, 3, 2])
    assert (chosen.get_xdata().tolist(), chosen.get_ydata().tolist()) == ([0.2, 0.3], pytest.approx([3, 2]))
    assert axes.get_title(loc="left") == "2 of 4 frames chosen"


def test_a_still_image_has_no_motion_to_draw():
    with pytest.raises(ValueError, match="no frame"):
        plot_motion(MotionTrace(), ())


def test_a_notebook_shows_photographs_as_jpeg_and_drawings_as_png(history):
    sheet, drawing = plot_contact_sheet(np.zeros((3, 8, 8, 3), np.uint8)), plot_history(history)
    assert (sheet._repr_png_(), sheet._repr_jpeg_()[:2]) == (None, b"\xff\xd8")
    assert (drawing._repr_png_()[:4], drawing._repr_jpeg_()) == (PNG, None)
