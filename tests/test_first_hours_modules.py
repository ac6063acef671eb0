"""Typical problems of newcomers with modules: lost parameters, dtypes that clash, PyTorch's spellings, Hessians of a module."""
from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim


def linear(n: int = 3, m: int = 2, **options) -> nn.Linear:
    return nn.Linear(n, m, rng=0, **options)


# -- parameters are not lost ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, value, words", [
    ("weight", np.ones((2, 3)), "Linear: weight is a Parameter and cannot be replaced by ndarray; to change its numbers, write "
                                "weight.data = values"),
    ("weight", tg.Tensor(np.ones((2, 3)), requires_grad=True), "cannot be replaced by Tensor"),
    ("weight", None, "cannot be replaced by NoneType"),
    ("bias", 0.0, "bias is a Parameter and cannot be replaced by float"),
])
def test_a_parameter_is_replaced_by_a_parameter_only(name, value, words):
    layer = linear(init="he")
    with pytest.raises(TypeError) as caught:
        setattr(layer, name, value)
    assert words in str(caught.value)
    assert len(layer.parameters()) == 2
    layer.weight = nn.Parameter(np.zeros((2, 3)), dtype="float32")
    assert not layer(np.ones(3)).data.any() and len(layer.parameters()) == 2
    del layer.weight
    assert len(layer.parameters()) == 1


def test_a_buffer_and_a_module_are_replaced_by_their_kind_only():
    norm = nn.BatchNorm1d(2)
    with pytest.raises(TypeError, match="BatchNorm1d: running_mean is a Buffer and cannot be replaced by ndarray"):
        norm.running_mean = np.zeros(2)
    model = nn.Sequential(nn.Linear(2, 2, rng=0))
    model.head = nn.Linear(2, 1, rng=0)
    with pytest.raises(TypeError, match="Sequential: head is a Module and cannot be replaced by function; to remove it"):
        model.head = F.relu
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "head.weight", "head.bias"]
    model.head = None
    assert len(model.parameters()) == 2


class Nested(nn.Module):
    def __init__(self):
        self.blocks = {"a": [linear(), (linear(), nn.ReLU())], 1: {"scale": nn.Parameter([1.0])}}
        self.pairs = [[linear()], []]
        self.buffers_too = ({"mean": nn.Buffer(np.zeros(2))},)


def test_parameters_and_modules_are_found_in_containers_of_any_depth():
    model = Nested()
    names = ["blocks.1.scale", "blocks.a.0.weight", "blocks.a.0.bias", "blocks.a.1.0.weight", "blocks.a.1.0.bias",
             "pairs.0.0.weight", "pairs.0.0.bias"]
    assert [name for name, _ in model.named_parameters()] == names
    assert [name for name, _ in model.named_buffers()] == ["buffers_too.0.mean"]
    assert not model.eval().blocks["a"][1][1].training
    twin = copy.deepcopy(model)
    twin.blocks["a"][0].weight.data[...] = 7
    twin.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(twin.blocks["a"][0].weight.data, model.blocks["a"][0].weight.data)
    assert len(optim.SGD(model.parameters(), lr=0.1).param_groups[0]["params"]) == len(names)


def test_module_list_and_dict():
    layers = nn.ModuleList([linear()]).append(nn.ReLU()).extend([linear(2, 2)]).insert(1, linear(2, 2))
    assert [type(layer).__name__ for layer in layers] == ["Linear", "Linear", "ReLU", "Linear"] and len(layers) == 4
    assert list(layers.state_dict())[:3] == ["0.weight", "0.bias", "1.weight"]
    layers[-1] = nn.Tanh()
    del layers[0]
    assert not len(nn.ModuleList(None)) and not len(nn.ModuleDict(None))
    assert isinstance(layers[1:], nn.ModuleList) and [type(layer).__name__ for layer in layers] == ["Linear", "ReLU", "Tanh"]
    heads = nn.ModuleDict({"a": linear()})
    heads["b"] = nn.PReLU()
    assert list(heads) == ["a", "b"] and list(heads.keys()) == ["a", "b"] and "a" in heads and len(heads) == 2
    assert list(heads.state_dict()) == ["a.weight", "a.bias", "b.weight"] and heads == heads and hash(heads) is not None
    assert list(pickle.loads(pickle.dumps(heads))) == ["a", "b"] and heads.pop("b") and list(heads) == ["a"]
    for refused in (lambda: layers.append(F.relu), lambda: nn.ModuleDict({"a": 3}), lambda: nn.ModuleDict({1: linear()})):
        with pytest.raises(TypeError, match=r"Module(List|Dict): got .*, expected (modules|text)"):
            refused()
    assert len(layers) == 3 and repr(nn.ModuleList()) == "ModuleList()" and repr(nn.Sequential()) == "Sequential()"


@pytest.mark.parametrize("kind", [nn.ModuleList, lambda modules: nn.Sequential(*modules)])
def test_modules_in_a_list_are_added_popped_and_deleted(kind):
    a, b, c, d = several = [nn.Identity() for _ in range(4)]
    layers = same = kind(several[:2])
    longer = layers + kind([c]) + [d]
    assert type(longer) is type(layers) and list(longer) == several and list(layers) == [a, b]
    layers += [c, d]
    assert layers is same and list(layers) == several
    assert layers.pop() is d and layers.pop(0) is a and list(layers) == [b, c]
    del longer[1:3]
    assert list(longer) == [a, d] and list(longer.pop(slice(1))) == [a] and list(longer) == [d]
    with pytest.raises(IndexError, match="the index is -1, but there are 0 modules"):
        kind([]).pop()
    with pytest.raises(TypeError, match="got 3, expected modules"):
        layers + [3]


def test_a_sequential_without_its_last_layer():
    """Which layers run as one operation is found anew."""
    model, x = nn.Sequential(linear(3, 4), nn.ReLU(), linear(4, 2)), np.ones((2, 3), "float32")
    first, model_of_all = model[:2](x).data, model(x)
    assert model_of_all.shape == (2, 2) and model.pop() is not None
    np.testing.assert_array_equal(model(x).data, first)


def test_a_sequential_grows_and_is_sliced():
    model = nn.Sequential(linear(3, 4, dtype="float64"))
    x = np.ones((2, 3))
    before = model(x).data
    assert model.append(nn.ReLU()) is model
    np.testing.assert_array_equal(model(x).data, np.maximum(before, 0))
    assert isinstance(model[:1], nn.Sequential) and model[:1][0] is model[0] and len(model[::-1]) == 2
    np.testing.assert_array_equal(model[:1](x).data, before)
    mlp = nn.MLP([3, 4, 4, 2], rng=0)
    assert type(mlp[:-1]) is nn.Sequential and len(mlp[:-1]) == 4
    with pytest.raises(IndexError, match="MLP: the index is 7, but there are 5 modules"):
        mlp[7]
    with pytest.raises(TypeError, match="MLP: the index is 'a', expected a whole number"):
        mlp["a"]
    with pytest.raises(TypeError, match=r"MLP: the index is slice\(None, 1, None\), expected a whole number$"):
        mlp[:1] = nn.ReLU()


# -- dtypes -----------------------------------------------------------------------------------------------------------------

LAYERS = {
    "Linear": (linear(), (4, 3)), "Linear, no bias": (linear(bias=False), (4, 3)), "Linear, three axes": (linear(), (2, 4, 3)),
    "Sequential": (nn.Sequential(linear(), nn.ReLU(), linear(2, 2)), (4, 3)), "MLP": (nn.MLP([3, 4, 2], rng=0), (4, 3)),
    "Residual": (nn.Residual(linear(3, 3), nn.Tanh()), (4, 3)), "Maxout": (nn.Maxout(3, 2, rng=0), (4, 3)),
    "BatchNorm1d": (nn.BatchNorm1d(3), (4, 3)), "LayerNorm": (nn.LayerNorm(3), (4, 3)), "PReLU": (nn.PReLU(3), (4, 3)),
    "RNN": (nn.RNN(3, 2, rng=0), (4, 5, 3)), "LSTM": (nn.LSTM(3, 2, rng=0), (4, 5, 3)), "GRU": (nn.GRU(3, 2, rng=0), (4, 5, 3)),
    "RNNCell": (nn.RNNCell(3, 2, rng=0), (4, 3)), "after dropout": (nn.Sequential(nn.Dropout(0.5, rng=0), linear()), (4, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_casts_its_input_and_the_gradient_comes_back(name):
    layer, shape = LAYERS[name]
    layer = copy.deepcopy(layer)
    twin = copy.deepcopy(layer)
    numbers = np.random.default_rng(0).standard_normal(shape)
    x = tg.Tensor(numbers, requires_grad=True)
    y, expected = layer(x), twin(tg.Tensor(numbers, dtype="float32"))
    y, expected = (y[0], expected[0]) if isinstance(y, tuple) else (y, expected)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y.data, expected.data)
    y.sum().backward()
    assert x.grad.dtype == np.float64 and x.grad.any() and all(p.grad.dtype == np.float32 for p in layer.parameters())


def test_a_recurrent_layer_casts_its_state():
    layer, h = nn.GRU(3, 2, rng=0), tg.Tensor(np.ones((1, 5, 2)), requires_grad=True)
    output, _ = layer(tg.Tensor(np.ones((4, 5, 3))), h)
    output.sum().backward()
    assert output.dtype == np.float32 and h.grad.dtype == np.float64 and h.grad.any()


def test_the_first_program():
    assert nn.Linear(3, 2, rng=0)(tg.Tensor([[1, 2, 3]])).dtype == np.float32


@pytest.mark.parametrize("convert", [lambda m: m.astype("float64"), lambda m: m.to("float64"), lambda m: m.double(),
                                     lambda m: m.to(np.float64), lambda m: m.double().to("cpu"),
                                     lambda m: m.to("cpu", "float64"), lambda m: m.to(device="cpu", dtype="float64")])
def test_a_model_is_converted(convert):
    model = nn.Sequential(linear(), nn.BatchNorm1d(2), nn.PReLU())
    model(np.ones((4, 3))).sum().backward()
    before = model.state_dict()
    assert convert(model) is model
    assert {p.dtype for p in model.parameters()} == {np.dtype("float64")} == {p.grad.dtype for p in model.parameters()}
    assert model[1].running_mean.data.dtype == np.float64 and model[1].num_batches_tracked.data.dtype == np.int64
    assert model(np.ones((4, 3), "float32")).dtype == np.float64
    model.float()
    for name, values in model.state_dict().items():
        if "running" not in name and "num" not in name:
            np.testing.assert_array_equal(values, before[name])
    assert model[0].weight.kind == "weight" and model[0].bias.kind == "bias"


def test_a_model_of_an_optimizer_is_not_converted():
    model = linear()
    optim.SGD(model.parameters(), lr=0.1)
    assert model.float() is model
    with pytest.raises(RuntimeError, match=r"astype: an optimizer or views of members share memory .* copy\.deepcopy\(model\)\.astype\('float64'\)"):
        model.double()
    assert copy.deepcopy(model).double().weight.dtype == np.float64 and model.weight.dtype == np.float32
    with pytest.raises(ValueError, match="dtype is 'cuda', expected 'float32' or 'float64'; the only device is 'cpu'"):
        model.to("cuda")


def test_a_graph_of_the_former_dtype_is_not_differentiated():
    model = linear()
    loss = model(np.ones((4, 3))).sum()
    model.double()
    with pytest.raises(RuntimeError, match="changed"):
        loss.backward()


def test_other_type_errors_of_layers_stay():
    for model in (linear(), nn.Sequential(linear(), nn.ReLU())):
        with pytest.raises(TypeError, match="text"):
            model([["a", "b", "c"]])
        with pytest.raises(ValueError, match=r"linear: x has shape \(4,\)"):
            model(np.ones(4))


# -- spellings ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("activation", [F.relu, nn.ReLU, nn.ReLU(), "relu", lambda: nn.ReLU()])
def test_an_activation_of_mlp_is_a_name_a_function_a_class_or_a_module(activation):
    model = nn.MLP([2, 3, 3, 1], activation=activation, rng=0)
    assert repr(model) == repr(nn.MLP([2, 3, 3, 1], rng=0)) and model[1] is not model[3]


def test_functions_with_parameters_and_of_two_layers():
    assert isinstance(nn.MLP([2, 3, 1], activation=F.prelu, rng=0)[1], nn.PReLU)
    assert isinstance(nn.MLP([2, 3, 1], activation=F.gelu, rng=0)[1], nn.GELU)
    assert nn.MLP([2, 3, 1], activation=nn.LeakyReLU(0.3), rng=0)[1].negative_slope == 0.3
    for maxout in (F.maxout, nn.Maxout, "maxout"):
        assert isinstance(nn.MLP([2, 3, 1], activation=maxout, rng=0)[0], nn.Maxout)


@pytest.mark.parametrize("activation, words", [
    (nn.PReLU(), "whose state the layers would share; expected a callable that makes one for each layer, such as nn.PReLU"),
    (np.tanh, "cannot be called without arguments; expected a name such as 'relu', a function such as F.relu"),
    (nn.Linear, "cannot be called without arguments"),
    (lambda: 3, "made int, expected a Module"),
    (nn.Dropout, "cannot be called without arguments"),
])
def test_invalid_activations_are_refused_in_one_sentence(activation, words):
    with pytest.raises(TypeError) as caught:
        nn.MLP([2, 3, 1], activation=activation, rng=0)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_mode_is_true_or_false():
    for mode in ("False", 0, None):
        with pytest.raises(TypeError, match=r"train: mode is .*, expected True or False"):
            nn.ReLU().train(mode)
    assert nn.ReLU().train(np.False_).training is False
    with pytest.raises(TypeError, match="requires_grad_: requires_grad is 'no', expected True or False"):
        linear().requires_grad_("no")


def test_frozen_layers_are_left_out_of_training():
    model = nn.Sequential(linear(3, 4).requires_grad_(False), nn.ReLU(), linear(4, 2))
    before, opt = model.state_dict(), optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        opt.zero_grad()
        F.cross_entropy(model(np.ones((4, 3))), np.array([0, 1, 0, 0])).backward()
        opt.step()
    for name, values in model.state_dict().items():
        assert np.array_equal(values, before[name]) == name.startswith("0.")
    model[0].requires_grad_()
    F.cross_entropy(model(np.ones((4, 3))), np.array([0, 1, 0, 0])).backward()
    assert model[0].weight.grad.any()


def test_gradients_are_set_to_none_or_zeros():
    layer = linear()
    layer(np.ones((4, 3))).sum().backward()
    layer.bias.grad = None
    layer.zero_grad(set_to_none=False)
    assert not layer.weight.grad.any() and layer.bias.grad is None
    layer.zero_grad()
    assert layer.weight.grad is None


def test_flatten_identity_softmax():
    x = tg.Tensor(np.random.default_rng(0).standard_normal((2, 3, 4)), requires_grad=True)
    np.testing.assert_array_equal(nn.Flatten()(x).data, x.data.reshape(2, 12))
    assert nn.Flatten(0)(x).shape == (24,) and nn.Flatten(1, 1)(x).shape == (2, 3, 4) and nn.Identity()(x) is x
    np.testing.assert_array_equal(nn.Softmax(dim=1)(x).data, F.softmax(x, 1).data)
    assert repr(nn.Sequential(nn.Flatten(), nn.Identity(), nn.Softmax(dim=1))) == (
        "Sequential(\n  (0): Flatten()\n  (1): Identity()\n  (2): Softmax(dim=1)\n)")
    model = nn.Sequential(nn.Identity(), nn.Embedding(5, 3, rng=0), nn.Flatten(), nn.Linear(6, 2, rng=0))
    assert model([[1, 2], [3, 4]]).shape == (2, 2)
    with pytest.raises(TypeError, match="softmax: got axis 'a'; expected whole numbers"):
        nn.Softmax("a")(x)


def test_one_hot():
    y = F.one_hot(np.array([[2, 0]]), 4)
    assert y.data.tolist() == [[[0, 0, 1, 0], [1, 0, 0, 0]]] and y.dtype == np.float32 and F.one_hot(1).data.tolist() == [0, 1]
    assert F.one_hot([True, False]).data.tolist() == [[0, 1], [1, 0]]
    logits = np.random.default_rng(0).standard_normal((3, 4))
    np.testing.assert_allclose(F.cross_entropy(logits, F.one_hot([3, 0, 1], 4)).item(), F.cross_entropy(logits, [3, 0, 1]).item())
    with pytest.raises(ValueError, match="one_hot: labels holds 4 at row 1; expected labels from 0 to 3"):
        F.one_hot([0, 4], 4)
    with pytest.raises(TypeError, match="one_hot: labels holds float64 numbers"):
        F.one_hot([0.0, 1.0])


def test_register_buffer():
    layer = nn.Module()
    layer.register_buffer("mean", tg.Tensor([1.0, 2.0]))
    layer.register_buffer("nothing", None)
    assert list(layer.state_dict()) == ["mean"] and layer.nothing is None
    for name in (3, "a.b", ""):
        with pytest.raises(ValueError, match=r"register_buffer: name is .*, expected a Python name"):
            layer.register_buffer(name, np.zeros(2))


def test_a_forward_with_options_is_called_by_name():
    class Scaled(nn.Module):
        def forward(self, x, scale=1.0):
            return F.as_tensor(x) * scale

    layer = Scaled()
    assert layer([1.0], scale=2.0).item() == 2
    layer.register_forward_hook(lambda module, inputs, output: output + len(inputs))
    assert layer([1.0], scale=2.0).item() == 3

    class Outer(nn.Module):
        def __init__(self):
            self.inner = linear()

        def forward(self, x):
            return self.inner(x=x)

    assert [row.output for row in Outer().summary((4, 3)).rows] == [(4, 2)]


# -- a module as a function of its parameters ---------------------------------------------------------------------------------

def test_the_hessian_of_a_module_times_a_vector():
    model, rng = nn.MLP([2, 3, 1], activation="tanh", rng=0, dtype="float64"), np.random.default_rng(0)
    x, y = rng.standard_normal((5, 2)), rng.standard_normal((5, 1))
    vectors = [rng.standard_normal(p.shape) for p in model.parameters()]
    products = tg.hvp(lambda *p: F.mse_loss(tg.functional_call(model, p, x), y), model.parameters(), vectors)

    def gradient(step):
        moved = [tg.Tensor(p.data + step * v, requires_grad=True) for p, v in zip(model.parameters(), vectors)]
        return tg.grad(F.mse_loss(tg.functional_call(model, moved, x), y), moved)

    for product, above, below in zip(products, gradient(1e-5), gradient(-1e-5)):
        np.testing.assert_allclose(product.data, (np.asarray(above) - np.asarray(below)) / 2e-5, atol=1e-8)
    assert all(p.grad is None for p in model.parameters())


def test_functional_call_takes_names_and_leaves_the_module_as_it_was():
    model = Nested()
    model.shared = model.pairs[0][0].weight
    model.forward = lambda x, h=0.0: model.blocks["a"][0](x) + model.pairs[0][0](x) * h
    before = dict(model.named_parameters())
    weight, x = tg.Tensor(np.ones((2, 3)), requires_grad=True, dtype="float32"), np.ones((4, 3))
    y = tg.functional_call(model, {"pairs.0.0.weight": weight, "pairs.0.0.bias": np.zeros(2)}, (x, 2.0))
    np.testing.assert_allclose(y.data, model.blocks["a"][0](x).data + 6)
    y.sum().backward()
    assert weight.grad.tolist() == [[8] * 3] * 2 and model.pairs[0][0].weight.grad is None
    assert all(before[name] is p for name, p in model.named_parameters())
    with pytest.raises(ZeroDivisionError):
        model.forward = lambda x: 1 / 0
        tg.functional_call(model, {"pairs.0.0.weight": weight}, x)
    assert all(before[name] is p for name, p in model.named_parameters())


def test_functional_call_takes_buffers():
    norm = nn.BatchNorm1d(2).eval()
    y = tg.functional_call(norm, {"running_mean": [1.0, 0.0], "weight": np.ones(2)}, np.ones((3, 2)))
    np.testing.assert_allclose(y.data, [[0, 1]] * 3, atol=1e-5)
    y = tg.functional_call(norm.train(), {"running_mean": [1.0, 0.0]}, np.ones((3, 2)))       # in the dtype of the buffer
    np.testing.assert_allclose(y.data, 0.0)
    assert not norm.running_mean.data.any()


@pytest.mark.parametrize("kind, arguments, words", [
    (TypeError, (F.relu, {}, 1.0), "functional_call: got function, expected a Module"),
    (ValueError, (linear(), {"wieght": np.ones((2, 3))}, 1.0), "functional_call: a parameter is 'wieght', expected one of: weight, bias; did"),
    (ValueError, (linear(), {"weight": np.ones(3)}, 1.0), "functional_call: weight has shape (3,), expected (2, 3)"),
    (TypeError, (linear(), [np.ones((2, 3))], 1.0), "functional_call: got 1 parameters, expected a dict by name, or a sequence of 2 Tensors"),
    (ValueError, (nn.BatchNorm1d(2), {"running_mean": np.ones(3)}, 1.0), "functional_call: running_mean has shape (3,), expected (2,)"),
    (TypeError, (linear(), 3, 1.0), "functional_call: got int, expected a dict by name"),
])
def test_wrong_calls_of_functional_call(kind, arguments, words):
    with pytest.raises(kind) as caught:
        tg.functional_call(*arguments)
    assert str(caught.value).startswith(words)


# -- sentences ------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind, call, words", [
    (ValueError, lambda: F.linear(np.ones((2, 3)), 3.5), "linear: x has shape (2, 3), the weight (); expected x (..., inputs)"),
    (ValueError, lambda: linear()(np.ones(4)), "linear: x has shape (4,), the weight (2, 3); expected x (..., inputs)"),
    (ValueError, lambda: linear()(np.ones((2, 5, 4))), "linear: x has shape (2, 5, 4), the weight (2, 3)"),
    (ValueError, lambda: F.linear(np.ones((2, 4)), np.ones((2, 3))), "linear: x has shape (2, 4), the weight (2, 3); expected"),
    (ValueError, lambda: F.linear(np.ones((2, 3)), np.ones((2, 3)), np.ones(3)), "linear: x has shape (2, 3), the weight (2, 3), the bias (3,)"),
    (ValueError, lambda: F.cross_entropy(np.zeros((2, 2)), [0, 1], weight=[1.0, -1.0]),
     "cross_entropy: the labels that are not ignored have a total weight of 0"),
    (ValueError, lambda: nn.MLP([2, 3, 1], activation=None, rng=0), "activation is None, expected one of: relu"),
    (ValueError, lambda: nn.PReLU(init=np.nan), "PReLU: init is nan, expected a number"),
    (TypeError, lambda: nn.ReLU(True), "ReLU: at_zero is True, expected a number"),
    (TypeError, lambda: nn.ReLU(inplace=True), "ReLU: leave inplace out: no operation here overwrites its input"),
    (TypeError, lambda: nn.MSELoss(size_average=True), "MSELoss: got an unexpected keyword argument 'size_average'; expected reduction"),
    (TypeError, lambda: nn.MSELoss(np.ones(3), np.ones(3)), "MSELoss: got arrays, expected settings; make the loss, then call it: MSELoss()(x, target)"),
    (TypeError, lambda: nn.CrossEntropyLoss(np.ones((4, 2)), [0, 1, 0, 1]), "CrossEntropyLoss: got arrays, expected settings"),
    (ValueError, lambda: setattr(m := linear(), "me", [m]), "Linear: me would put this module inside itself; keep a weakref.ref"),
    (ValueError, lambda: linear().register_buffer("forward", np.ones(2)), "register_buffer: forward is an attribute of Linear"),
    (TypeError, lambda: optim.SGD([{"params": None}]), "SGD: got NoneType among the parameters; expected Parameters"),
    (ValueError, lambda: optim.Optimizer(linear().parameters(), {"lr": 0.1}), "Optimizer: the defaults have no weight_decay; expected"),
    (TypeError, lambda: tg.activation("total", lambda x: x, lambda g, x, y: g, kinks=(0.0,)), "activation total: kinks is (0.0,), expected pairs"),
    (TypeError, lambda: tg.gradcheck(linear(), tg.Tensor([1.0, 2.0, 3.0], requires_grad=True)), "gradcheck: f returned float32; finite"),
    (TypeError, lambda: nn.Sequential(nn.GRU(3, 3, rng=0), linear())(np.ones((4, 1, 3))), "linear: x is a tuple that holds a Tensor"),
    (ValueError, lambda: linear()((tg.Tensor([[1.0]]), tg.Tensor([1.0, 2.0]))), "linear: x is ragged: its rows differ in length; expected rows of one "
     "length; a recurrent layer returns a tuple: pass its first entry"),
    (AttributeError, lambda: tg.activation("total", lambda x: x.sum(), lambda g, x, y: g), "'float' object has no attribute 'sum'"),
    (TypeError, lambda: nn.utils.clip_grad_norm_(None, 1.0), "clip_grad_norm_: got NoneType among the parameters; expected Tensors, such as model.parameters()"),
    (TypeError, lambda: nn.utils.clip_grad_norm_(nn.MLP([2, 1], rng=0), 1.0),
     "clip_grad_norm_: got Linear among the parameters; expected Tensors, such as model.parameters()"),
    (TypeError, lambda: nn.Sequential(nn.ReLU), "Sequential: got ReLU, expected modules; write ReLU(...) to make one"),
    (TypeError, lambda: nn.Sequential(F.relu), "Sequential: got relu, expected modules; activations are modules here: nn.ReLU()"),
    (TypeError, lambda: nn.Sequential([nn.ReLU()]), "Sequential: got [ReLU()], expected modules; unpack the list: *layers"),
    (TypeError, lambda: nn.ModuleDict(3), "ModuleDict: got 3, expected a dict of modules"),
    (TypeError, lambda: nn.LeakyReLU(np.ones((9, 9))), "LeakyReLU: negative_slope is ndarray of shape (9, 9), expected a number"),
    (TypeError, lambda: tg.broadcast_to(np.ones(3), "a"), "broadcast_to: got the shape 'a'; expected whole numbers"),
    (TypeError, lambda: tg.permute(np.ones((2, 3)), None), "transpose: got axis None; expected whole numbers"),
    (TypeError, lambda: nn.ModuleList(3), "ModuleList: got 3, expected modules"),
    (AttributeError, lambda: linear().cuda(), "Module has no cuda; leave it out: this library runs on the CPU"),
    (AttributeError, lambda: nn.functional, "tinygrad_relu.nn has no functional; write `from tinygrad_relu import functional as F`"),
    (AttributeError, lambda: nn.init.xavier_uniform_, "tinygrad_relu.nn.init has no xavier_uniform_; an initialiser is an argument"),
    (AttributeError, lambda: nn.utils.parameters_to_vector, "tinygrad_relu.nn.utils has no parameters_to_vector; write np.concatenate("),
    (AttributeError, lambda: linear().add_module, "Module has no add_module; assign it: model.name = module"),
    (AttributeError, lambda: linear().weigth, "'Linear' object has no attribute 'weigth'"),
    (TypeError, lambda: linear().load_state_dict({}, "no"), "load_state_dict: strict is 'no', expected True or False"),
    (TypeError, lambda: nn.MLP([2, 3, 1], rng=0).apply(3), "apply: got 3, expected a function of a module"),
    (ValueError, lambda: nn.MLP([3, 3, 1], rng=0).summary((-1, 3)), "summary: got the shape (-1, 3); expected a tuple of sizes of 0 or more"),
])
def test_errors_say_what_is_true(kind, call, words):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value).startswith(words)


def test_a_loss_may_define_forward_instead_of_a_function():
    class Product(nn.Loss):
        def forward(self, x, target):
            return (x * target).sum()

    assert Product()(tg.Tensor([1.0, 2.0]), np.array([3.0, 4.0])).item() == 11.0 and repr(Product()) == "Product()"


def test_a_tensor_that_is_no_parameter_is_named_in_a_warning():
    layer = linear()
    for value in (w := tg.Tensor([1.0], requires_grad=True), [w]):
        with pytest.warns(UserWarning, match=r"Linear: scale is a Tensor that requires a gradient, but not a Parameter: .* nn.Parameter"):
            layer.scale = value
    layer.scale = w * 2     # the result of an operation, as a forward may keep it


def test_a_gradient_of_another_shape_is_not_clipped():
    p = nn.Parameter([1.0, 2.0])
    p.grad = np.ones(3)
    with pytest.raises(ValueError, match=r"clip_grad_norm_: the gradient of a parameter of shape \(2,\) has shape \(3,\)"):
        nn.utils.clip_grad_norm_([p], 1.0)
