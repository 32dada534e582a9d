import math

import pytest

from dfutils.prediction.submission import write_submission
from dfutils.records import Label, Reason, Verdict

VERDICTS = [
    Verdict("a/sure.mp4", 1.0, Label.FAKE, Reason.OK),
    Verdict("b/fair.mp4", 0.25, Label.REAL, Reason.OK),
    Verdict("b/empty.mp4", None, Label.UNDECIDED, Reason.NO_FACE, "no face"),
]


def test_a_submission_is_a_name_and_a_probability(tmp_path):
    rows = write_submission(iter(VERDICTS), tmp_path / "submission.csv")
    text = (tmp_path / "submission.csv").read_text()
    assert text.split() == ["filename,label", "sure.mp4,0.9900", "fair.mp4,0.2500", "empty.mp4,0.5000"]
    assert [row["filename"] for row in rows] == ["sure.mp4", "fair.mp4", "empty.mp4"]


def test_one_sure_mistake_costs_more_than_a_hundred_sure_hits_gain():
    def loss(probability, fake):
        return -math.log(probability if fake else 1 - probability)

    cost = loss(0.9999, fake=False) - loss(0.99, fake=False)
    gain = loss(0.99, fake=True) - loss(0.9999, fake=True)
    assert cost > 100 * gain


@pytest.mark.parametrize("caution", [-0.1, 0.5])
def test_impossible_caution_is_refused(tmp_path, caution):
    with pytest.raises(ValueError, match="caution"):
        write_submission(VERDICTS, tmp_path / "submission.csv", caution=caution)
