"""Steps as CUDA graphs: the bookkeeping with graphs played by hand, and real ones on a GPU."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from learner_parts import FIELDS, MODELS, Desk, assert_same_weights, images, weights, whole

from alframe.data.batches import Batch, Mix
from alframe.learners.graphs import WARM_UP, Graphs, copied, tensors
from alframe.learners.hardware import Hardware
from alframe.learners.lightning import LightningLearner
from alframe.learners.recipe import Recipe
from alframe.protocols import Need
from alframe.tasks.classification import Classification


def batch(size, start=0.0, mixed=False):
    values = torch.arange(size, dtype=torch.float32) + start
    images = values[:, None, None, None].expand(size, 2, 2, 3).contiguous().permute(0, 3, 1, 2)
    mix = Mix(values.long(), None, values / 10) if mixed else None
    return Batch(images, values.long(), None, values.long(), mix)


class Played:
    """Plays CUDA's part: a capture notes what the step reads, a replay does it again."""

    def __init__(self, monkeypatch):
        self.capturing = None
        self.seen = []
        self.captured = self.replayed = 0
        cuda = torch.cuda
        for name in ("Stream", "current_stream"):
            monkeypatch.setattr(cuda, name, lambda: Waiting())
        monkeypatch.setattr(cuda, "stream", nullcontext)
        monkeypatch.setattr(cuda, "graph_pool_handle", lambda: "pool")
        monkeypatch.setattr(cuda, "CUDAGraph", lambda: Graph(self))
        monkeypatch.setattr(cuda, "graph", self.graph)

    @contextmanager
    def graph(self, graph, pool, stream, capture_error_mode):
        assert pool == "pool"
        assert isinstance(stream, Waiting)
        self.capturing = graph
        yield
        self.capturing = None
        self.captured += 1

    def step(self, batch):
        if self.capturing is None:
            self.seen.append([t.tolist() for t in tensors(batch)])
        else:
            self.capturing.reads = batch


class Waiting:
    def wait_stream(self, other):
        assert isinstance(other, Waiting)


class Graph:
    def __init__(self, played):
        self.played = played

    def replay(self):
        self.played.replayed += 1
        self.played.step(self.reads)


@pytest.mark.parametrize("mixed", [False, True])
def test_every_call_is_one_step_on_its_own_batch(monkeypatch, mixed):
    played = Played(monkeypatch)
    run = Graphs()
    sizes = [5, 5, 3] * 6
    batches = [batch(size, number, mixed) for number, size in enumerate(sizes)]
    expected = [[t.tolist() for t in tensors(given)] for given in batches]
    for given in batches:
        run(played.step, given)
    assert played.seen == expected
    assert played.captured == 2, "one for each size"
    assert played.replayed == len(sizes) - 2 * WARM_UP


def test_a_copy_keeps_the_layout_and_shares_nothing():
    given = batch(4, mixed=True)
    copy = copied(given)
    assert copy.inputs.is_contiguous(memory_format=torch.channels_last)
    assert copy.inputs.stride() == given.inputs.stride()
    assert (copy.weights, copy.mix.weights) == (None, None)
    assert len(list(tensors(copy))) == 5
    for one, other in zip(tensors(copy), tensors(given), strict=True):
        assert torch.equal(one, other)
        assert one.data_ptr() != other.data_ptr()


# --- on a GPU ---


def gpu_fit(desk=None, needs=(), model="cnn", epochs=4, hardware=None, **recipe):
    data = images()
    defaults = {"learning_rate": 0.05, "batch_size": 8, "checkpoint_seconds": 0, "crop": 1}
    how = Recipe(epochs=epochs, **{**defaults, **recipe})
    options = {"compile": False, "steps_per_call": 2, **(hardware or {})}
    learner = LightningLearner(
        data, Classification(data), MODELS[model], how, Hardware("gpu", **options)
    )
    rng = np.random.default_rng(5)
    return learner.fit(whole(data), rng, needs, desk or Desk())


def gpu_weights(fitted):
    fitted.model.cpu()
    return weights(fitted)


@pytest.mark.gpu
@pytest.mark.parametrize("model", ["cnn", "mlp"])  # dropout draws in another order
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_captured_steps_are_the_plain_ones(model, precision):
    need = Need("dynamics", fields=FIELDS)
    plain, captured = (
        gpu_fit(None, (need,), model, hardware={"cuda_graphs": on, "precision": precision})
        for on in (False, True)
    )
    history = captured.dynamics.values, plain.dynamics.values
    np.testing.assert_allclose(*history, rtol=1e-3, atol=1e-3)
    one, other = gpu_weights(plain), gpu_weights(captured)
    for name, value in one.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.gpu
@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_a_fit_on_a_gpu_goes_on_as_if_undisturbed(tmp_path, model, graphs):
    hardware = {"cuda_graphs": graphs}
    need = Need("dynamics", fields=FIELDS)
    expected = gpu_fit(None, (need,), model, hardware=hardware)
    with pytest.raises(InterruptedError):
        gpu_fit(Desk(tmp_path, stop_at=3), (need,), model, hardware=hardware)
    resumed = gpu_fit(Desk(tmp_path), (need,), model, hardware=hardware)
    assert torch.equal(resumed.dynamics.values, expected.dynamics.values)
    assert_same_weights(gpu_weights(resumed), gpu_weights(expected))


@pytest.mark.gpu
def test_a_compiled_and_captured_fit_is_close_to_a_plain_one():
    plain = gpu_weights(gpu_fit(hardware={"cuda_graphs": False, "precision": "32-true"}))
    both = {"cuda_graphs": True, "compile": True, "precision": "32-true"}
    first, second = gpu_fit(hardware=both), gpu_fit(hardware=both)
    assert first.costs["compile_seconds"] > 10 * second.costs["compile_seconds"]
    made, again = gpu_weights(first), gpu_weights(second)
    assert_same_weights(made, again)
    for name, value in plain.items():
        np.testing.assert_allclose(made[name], value, rtol=1e-2, atol=1e-3, err_msg=name)
