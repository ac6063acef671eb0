"""The cost of the laboratory: recording the units of a training step, a census, a prognosis."""
import numpy as np

from tinygrad_relu import functional as F
from tinygrad_relu import lab, nn, optim


def sick_model(activation="relu"):
    """The shape of the main job, float64, with half of the first layer pushed off the data."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((1797, 64)), np.arange(1797) % 10
    model = nn.MLP([64, 64, 64, 10], activation=activation, dtype="float64", rng=0)
    model[0].bias.data = np.where(np.arange(len(model[0].bias.data)) % 2, -100.0, 0.0)
    return model, x, labels


class WatchedTraining:
    """A step on the whole data: not recorded, recorded by the forward pass of the training, or by a pass of its own."""

    params = ("nothing", "forward", "observe")
    param_names = ("recorded by",)
    timeout = 300

    def setup(self, watcher):
        self.model, self.x, self.labels = sick_model()
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.01)
        self.recorder = lab.Recorder(self.model, self.x)
        self.time_step(watcher)         # compiled, or loaded from the cache

    def time_step(self, watcher):
        self.optimizer.zero_grad()
        output = self.recorder.forward() if watcher == "forward" else self.model(self.x)
        F.cross_entropy(output, self.labels).backward()
        self.optimizer.step()
        if watcher == "observe":
            self.recorder.observe()


class Questions:
    """The state of every unit, and the future of the dead ones."""

    params = ("relu", "gelu", "maxout")
    param_names = ("activation",)
    timeout = 300

    def setup(self, activation):
        self.model, self.x, self.labels = sick_model(activation)
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.05)
        self.time_census(activation)
        self.time_prognosis(activation)

    def time_census(self, activation):
        """With the gradient of every unit."""
        lab.census(self.model, self.x, self.labels)

    def time_prognosis(self, activation):
        lab.prognosis(self.model, self.x, self.optimizer)


class ClosedForm:
    """The step of one revival, by the formula, and by rolling the recurrence forward."""

    def setup(self):
        self.time_revival_step(), self.time_roll_forward()

    def time_revival_step(self):
        lab.revival_step(-1.0, lr=0.1, momentum=0.99, weight_decay=5e-4)

    def time_roll_forward(self):
        """To step 472."""
        lab.roll_forward(-1.0, lr=0.1, momentum=0.99, weight_decay=5e-4, steps=1000)
