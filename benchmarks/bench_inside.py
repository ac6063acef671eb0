"""The cost of hooks, of the search for NaN, and of the table of a graph, beside the same step without them."""
import numpy as np

from tinygrad_relu import detect_anomaly, explain, graph, nn, optim
from tinygrad_relu import functional as F


class Watched:
    params = (("nothing", "removed", "forward", "backward", "tensor", "anomaly", "anomaly, named"),)
    param_names = ("watched by",)
    timeout = 300

    def setup(self, watcher):
        rng = np.random.default_rng(0)
        self.x, self.labels = rng.standard_normal((64, 16), dtype=np.float32), np.arange(64) % 4
        self.model = nn.MLP([16, 32, 32, 4], rng=0)
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.01)
        for layer in self.model:
            if watcher == "forward":
                layer.register_forward_hook(lambda module, inputs, output: None)
            elif watcher == "backward":
                layer.register_full_backward_hook(lambda module, grad_input, grad_output: None)
            elif watcher == "removed":
                layer.register_forward_hook(lambda module, inputs, output: None).remove()
        if watcher == "tensor":
            for parameter in self.model.parameters():
                parameter.register_hook(lambda g: None)
        self.hunt = None
        if watcher.startswith("anomaly"):
            self.hunt = detect_anomaly(self.model if watcher == "anomaly, named" else None)
            self.hunt.__enter__()
        self.time_step(watcher)         # compiled, or loaded from the cache

    def teardown(self, watcher):
        if self.hunt is not None:
            self.hunt.__exit__()

    def time_step(self, watcher):
        """zero_grad, forward, cross_entropy, backward, SGD of 16-32-32-4."""
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(self.x), self.labels).backward()
        self.optimizer.step()


class Explain:
    params = ((5, 50),)
    param_names = ("layers",)
    timeout = 300

    def setup(self, layers):
        model = nn.MLP([32] * layers + [4], rng=0)
        self.loss = F.cross_entropy(model(np.ones((64, 32), np.float32)), np.arange(64) % 4)
        self.picture = graph(self.loss)
        self.time_explain(layers), self.time_svg(layers)

    def time_explain(self, layers):
        str(explain(self.loss))

    def time_svg(self, layers):
        self.picture.to_svg()
