"""Operations that move numbers: indexing, joining, transposition, stacks of matrices, einsum; forward and backward, float32."""
import numpy as np

import tinygrad_relu as tg

ROWS = np.random.default_rng(0).integers(0, 4096, 1024)
LABELS = ROWS % 64
MASK = np.random.default_rng(1).random((4096, 64)) < 0.5
WEIGHT = np.ones((64, 64), np.float32)

# name: (function, shape of its input)
CASES = {
    "x[5]": (lambda x: x[5], (4096, 64)),
    "x[10:2000]": (lambda x: x[10:2000], (4096, 64)),
    "x[rows]": (lambda x: x[ROWS], (4096, 64)),
    "x[mask]": (lambda x: x[MASK], (4096, 64)),
    "x[rows, labels]": (lambda x: x[ROWS, LABELS], (4096, 64)),
    "x[:, columns]": (lambda x: x[:, LABELS[:32]], (4096, 64)),
    "take_along_axis": (lambda x: tg.take_along_axis(x, LABELS[:, None], 1), (1024, 64)),
    "gather": (lambda x: tg.gather(x, 1, LABELS[:, None]), (1024, 64)),
    "flip": (lambda x: tg.flip(x, 1), (1024, 64)),
    "pad": (lambda x: tg.pad(x, 1), (1024, 64)),
    "broadcast_to": (lambda x: tg.broadcast_to(x, (1024, 64)), (64,)),
    "concatenate": (lambda x: tg.concatenate([x, x, x, x], axis=1), (1024, 64)),
    "stack": (lambda x: tg.stack([x, x, x, x]), (1024, 64)),
    "split": (lambda x: tg.split(x, 4)[2], (1024, 64)),
    "split into 64, joined": (lambda x: tg.concatenate(tg.split(x, 64)), (1024, 64)),
    "row by row": (lambda x: tg.stack(list(x)), (1024, 64)),
    "transpose": (lambda x: x.T, (1024, 1024)),
    "permute heads": (lambda x: x.permute(0, 2, 1, 3), (16, 128, 4, 16)),
    "stack @ stack": (lambda x: x @ x, (256, 32, 32)),
    "stack @ matrix": (lambda x: x @ WEIGHT, (16, 128, 64)),
    "einsum ij,kj->ik": (lambda x: tg.einsum("ij,kj->ik", x, x), (256, 64)),
    "einsum bqhd,bkhd->bhqk": (lambda x: tg.einsum("bqhd,bkhd->bhqk", x, x), (16, 64, 4, 16)),
    "einsum ij,ij->i": (lambda x: tg.einsum("ij,ij->i", x, x), (1024, 64)),
    "einsum ii": (lambda x: tg.einsum("ii", x), (1024, 1024)),
}


class Structure:
    params = (tuple(CASES),)
    param_names = ("operation",)
    timeout = 300

    def setup(self, name):
        self.function, shape = CASES[name]
        rng = np.random.default_rng(0)
        self.x = tg.Tensor(rng.standard_normal(shape, dtype=np.float32), requires_grad=True)
        self.y = self.function(self.x)
        self.g = rng.standard_normal(self.y.shape, dtype=np.float32)
        self.time_forward(), self.time_backward()       # compiled, or loaded from the cache

    def time_forward(self, *_):
        self.function(self.x)

    def time_backward(self, *_):
        tg.grad(self.y, self.x, self.g, retain_graph=True)
