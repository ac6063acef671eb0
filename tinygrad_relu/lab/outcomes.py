"""The results of the main job: networks that have lost units, and for each treatment the predictions and the observations."""
from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..autodiff.node import Array
from ..data import Dataset
from ..nn import MLP
from ..optim import Optimizer
from .layers import GONE
from .prescription import Prescription
from .readings import plain
from .treatments import Treatment


@dataclass(frozen=True, eq=False)
class Training:
    """The record of a training run."""

    states: list[Array]                     # per layer, (steps + 1, units)
    accuracies: list[tuple[int, float]]     # at every tenth step, and at the last
    held_out: list[tuple[int, float]]       # at the same steps, on data that are not trained on; empty if there are none
    loss: float                             # the last

    @property
    def steps(self) -> int:
        return self.accuracies[-1][0]

    @property
    def accuracy(self) -> float:
        return self.accuracies[-1][1]

    @property
    def accuracy_held_out(self) -> float | None:
        return self.held_out[-1][1] if self.held_out else None

    @property
    def dead(self) -> list[int]:
        """The number of dead units at the end, by hidden layer."""
        return [int(GONE[layer[-1]].sum()) for layer in self.states]


@dataclass(frozen=True, eq=False)
class Sick(Training):
    """A network that has lost units: by a learning rate that was too high, or by a shock, which counts as its last step."""

    model: MLP
    optimizer: Optimizer                # that of its training, with its buffers
    gradient: float                     # the largest gradient of a hidden weight or bias: exactly 0 if every path is dead
    finished: bool                      # all gradients are almost 0, those of the output layer too


@dataclass(frozen=True)
class Prediction:
    """The prediction for one dead unit, and the observation. A step is None for no return (`observed`: in this training)."""

    layer: str
    unit: int
    step: int | None
    between: tuple[int, int] | None     # the first and the last step at which it may return, given the rounding
    proved: bool                        # whether the step is proved, for the training on this computer
    observed: int | None
    until: int                          # the last step of the training, or the last before the unit diverged

    @property
    def fails(self) -> bool:
        """Whether the training contradicts it."""
        return refuted(self.between, self.observed, self.until)

    @property
    def waits(self) -> bool:
        """Whether the unit has not returned, but may still return after the end of the training."""
        return self.between is not None and self.observed is None and self.between[1] > self.until

    def __str__(self) -> str:
        return f"unit {self.unit} of layer {self.layer}: predicted {in_words(self.between)}, observed {self.observed or 'never'}"


def refuted(between: tuple[int, int] | None, observed: int | None, until: int) -> bool:
    """Whether a training of `until` steps contradicts the prediction of a return at one of the steps `between`, or of none."""
    if observed is None:
        return between is not None and between[1] <= until
    return between is None or not between[0] <= observed <= between[1]


def in_words(between: tuple[int, int] | None) -> str:
    """The steps of a prediction: "never", "472", or "470 to 474" where rounding decides."""
    return "never" if between is None else str(between[0]) if between[0] == between[1] else f"{between[0]} to {between[1]}"


@dataclass(frozen=True, eq=False)
class Outcome(Training):
    """The predictions for one treatment, and its result. `predicted_step` and `observed_step` are those of the first return of a
    dead unit of the first hidden layer; None for never."""

    sick: Sick                          # the network it began with
    treatment: Treatment
    lr: float                           # before the treatment's own factor
    threshold: float | None
    verdict: str                        # the prediction in one sentence
    why: str                            # why no unit of the first layer returns, in a few words; empty if one is predicted to
    predicted_step: int | None          # may be later than the end of training
    observed_step: int | None
    predictions: list[Prediction]       # one for every dead unit about which something is claimed
    opens: tuple[int | None, int | None]    # the step, (predicted, observed), at which the first path opens in a network that is
                                        # cut off by a layer without a living unit; None for none within the training
    opens_between: tuple[int, int] | None   # the first and the last step at which it may open, given the rounding
    followed: tuple[int, int] | None    # (unit, sample) of the pre-activation in the two orbits
    observed_orbit: list[float]
    predicted_orbit: list[float]

    @property
    def eta_lambda(self) -> float:
        return self.treatment.eta_lambda(self.lr)

    @property
    def disagreements(self) -> list[str]:
        """The predictions that the training contradicts."""
        wrong = [str(prediction) for prediction in self.predictions if prediction.fails]
        if self.opens_between is not None and refuted(self.opens_between, self.opens[1], self.steps):
            wrong.append(f"first open path: predicted {in_words(self.opens_between)}, observed {self.opens[1] or 'never'}")
        return wrong

    @property
    def untested(self) -> str:
        """Why the training could not contradict any prediction; empty if it could."""
        if self.lr == 0:
            return "nothing moves at rate 0"
        return "the units diverged at the first step" if self.predictions and not any(p.until for p in self.predictions) else ""

    @property
    def learned(self) -> bool:
        """Whether the accuracy has risen visibly."""
        return self.accuracy > self.sick.accuracy + 0.05

    @property
    def predicted(self) -> str:
        """The predicted step of the first return in the first layer, in words."""
        if steps := [p.between for p in self.predictions if p.layer == "0" and p.between is not None]:
            return in_words((min(a for a, _ in steps), min(b for _, b in steps)))
        return "-" if not self.claims else "never" if self.verdict.startswith("never") else f">{self.steps}"

    @property
    def observed(self) -> str:
        """The observed step of the first return in the first layer, in words."""
        return str(self.observed_step) if self.observed_step is not None else f">{self.steps}" if self.claims else "-"

    def reaches(self, accuracy: float) -> int | None:
        """The first step at which the accuracy was measured and at least this."""
        return next((step for step, found in self.accuracies if found >= accuracy), None)

    @property
    def claims(self) -> bool:
        """Whether something is claimed of the first layer."""
        return any(prediction.layer == "0" for prediction in self.predictions)

    def to_dict(self) -> dict[str, Any]:
        """The entry in the JSON file. A predicted step of None means never; an observed step of None, not within the training."""
        return {"name": self.treatment.key, "title": self.treatment.name, "eta_lambda": self.eta_lambda,
                "threshold": self.threshold, "verdict": self.verdict, "predicted_step": self.predicted_step,
                "observed_step": self.observed_step, "opens_predicted": self.opens[0], "opens_observed": self.opens[1],
                "dead": self.dead, "accuracy": self.accuracy, "held_out": self.accuracy_held_out,
                "loss": plain(self.loss), "wrong": len(self.disagreements), "proved": sum(p.proved for p in self.predictions),
                "predictions": [asdict(prediction) for prediction in self.predictions]}


@dataclass(frozen=True, eq=False)
class Run:
    """The main job with one seed."""

    seed: int
    dataset: Dataset                    # that is trained on
    held_out: Dataset | None
    networks: dict[str, Sick]           # by the names of `STARTS`
    outcomes: list[Outcome]
    prescription: Prescription | None = None    # then the outcomes are those at its `ends`

    @property
    def failed(self) -> bool:
        """Whether some prediction was wrong, or a unit did not return at the prescribed step."""
        ends = [] if self.prescription is None else self.prescription.ends
        return any(o.disagreements for o in self.outcomes) or any(
            step != outcome.observed_step for (_, step), outcome in zip(ends, self.outcomes))

    def of(self, *starts: str) -> list[Outcome]:
        """The outcomes of the treatments that start with these networks."""
        return [outcome for outcome in self.outcomes if outcome.treatment.start in starts]
