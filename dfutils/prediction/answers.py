"""How scores become answers: the thresholds of a detector, and what makes a score no answer."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from dfutils.errors import RunError
from dfutils.prediction.members import ClipScore
from dfutils.prediction.views import IN_WORDS
from dfutils.records import Label, Reason, TrackScore
from dfutils.runs.probabilities import EPSILON
from dfutils.runs.record import DetectorRecord, label_of
from dfutils.statistics.formatting import probability_text


class Judge:
    """Gives the answers of a detector to scores, at a prior.

    Attributes:
        settings: The content of ``detector.json``.
        prior: Share of FAKE among the inputs that probabilities are given for; see `for_prior`.
    """

    def __init__(self, settings: DetectorRecord) -> None:
        self.settings, self.prior = settings, settings.prior

    def for_prior(self, prior: float) -> Self:
        """Return a copy whose probabilities are those among inputs of which the share ``prior`` is FAKE.

        Bayes' rule gives them from those that the detector is calibrated for. The copy answers less often, and never
        where this one says UNDECIDED: REAL and FAKE need the same evidence as before, and a probability on their side
        of one half.

        Raises:
            RunError: ``prior`` is nearer to 0 or 1 than `EPSILON`.
        """
        if not EPSILON <= prior <= 1 - EPSILON:
            raise RunError(
                f"prior: must be from {EPSILON:.6f} to {1 - EPSILON:.6f}, the expected share of FAKE. "
                f"Received: {prior:g}"
            )
        other = copy.copy(self)
        other.prior = prior
        return other

    @property
    def answer_range(self) -> tuple[float, float]:
        """Highest probability of a verdict that is REAL and lowest that is FAKE, at this prior."""
        real_up_to, fake_from = self.settings.answer_range
        if self.prior == self.settings.prior:
            return real_up_to, fake_from
        return min(0.5, self.at_prior(real_up_to)), max(0.5, self.at_prior(fake_from))

    def label_of(self, fake_probability: float) -> Label:
        """Return the answer to a probability at this prior, such as that of a track or of a frame of a verdict."""
        return label_of(fake_probability, self.answer_range)

    def decide(self, fake_probability: float) -> tuple[Label, Reason, str]:
        """Return the answer to a calibrated probability, its reason, and a sentence of detail if it is UNDECIDED.

        Args:
            fake_probability: As calibrated, not yet for another prior.
        """
        expected = self.at_prior(fake_probability)
        label = self.settings.label(fake_probability)
        is_other_mix = self.prior != self.settings.prior
        if label != Label.UNDECIDED and not (is_other_mix and (expected >= 0.5) != (label == Label.FAKE)):
            return label, Reason.OK, ""
        shown, low, high = map(probability_text, (expected, *self.answer_range))
        if shown in (low, high):  # rounding alone would put it on a threshold
            shown, low, high = (probability_text(one, 4) for one in (expected, *self.answer_range))
        detail = f"the fake probability {shown} lies between {low} and {high}, where this detector does not decide"
        return Label.UNDECIDED, Reason.LOW_CONFIDENCE, detail

    def probabilities_of_views(self, score: ClipScore) -> Mapping[str, float]:
        """Return the calibrated probability of each view by its name, ``as_is`` for the crops as they are."""
        names = ("as_is", *self.settings.views)[: len(score.view_probabilities)]
        return dict(zip(names, score.view_probabilities, strict=True))

    def decide_people(self, scores: Sequence[ClipScore], pixels: Sequence[float]) -> tuple[int, Label, Reason, str]:
        """Choose the person whose score decides, among those whose face is large enough.

        That is the one with the highest score who is FAKE; if there is none, the one with the highest score who is
        UNDECIDED, so that a face that cannot be judged is never called REAL; else the highest score.

        Args:
            scores: One for each person; at least one.
            pixels: Size of each person's face, from `face_pixels`.

        Returns:
            The person's index, the label, the reason and a sentence of detail.
        """
        least = self.settings.min_face_pixels
        people = range(len(scores))
        ranked = sorted(people, key=lambda person: -scores[person].fake_probability)
        if large := [person for person in ranked if pixels[person] >= least]:
            answers = {person: self.decide_person(scores[person]) for person in large}
            order = (Label.FAKE, Label.UNDECIDED, Label.REAL)
            person = min(large, key=lambda one: order.index(answers[one][0]))  # of equals, the highest score
            return person, *answers[person]
        detail = f"the largest face is {max(pixels):.0f} pixels wide or high, but this detector needs {least} to decide"
        return ranked[0], Label.UNDECIDED, Reason.LOW_CONFIDENCE, detail

    def decide_person(self, score: ClipScore) -> tuple[Label, Reason, str]:
        """Return the answer to one person's score, its reason, and a sentence of detail if it is UNDECIDED."""
        views = {name: self.decide(one)[0] for name, one in self.probabilities_of_views(score).items()}
        if objection := _objection(score.distance, views):
            return Label.UNDECIDED, *objection
        return self.decide(score.fake_probability)

    def label_of_person(self, track: TrackScore) -> Label:
        """Return the answer to one person of a verdict alone."""
        views = {name: self.label_of(one) for name, one in track.views.items()}
        if not track.counts or _objection(track.distance, views):
            return Label.UNDECIDED
        return self.label_of(track.fake_probability)

    def at_prior(self, fake_probability: float) -> float:
        """Return a probability as calibrated for this prior."""
        if self.prior == self.settings.prior:
            return fake_probability
        from dfutils.runs.probabilities import at_prior

        return float(at_prior(np.array(fake_probability), self.prior, known=self.settings.prior))


def _objection(distance: float | None, answers: Mapping[str, Label]) -> tuple[Reason, str] | None:
    """Return why a person's score is no answer: the face is unfamiliar, or two views have opposite answers."""
    if distance is not None and distance > 1:
        detail = (
            f"the face looks unlike this detector's training images ({distance:.1f} times the allowed "
            "distance), as drawings, filters and damaged images do"
        )
        return Reason.UNFAMILIAR, detail
    if {Label.REAL, Label.FAKE} <= set(answers.values()):
        found = [f"{answer} {IN_WORDS[name]}" for name, answer in answers.items() if answer != Label.UNDECIDED]
        return Reason.UNSTABLE, f"the answer changes: {', '.join(found)}"
    return None
