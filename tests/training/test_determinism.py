"""The same seed gives the same bits: again, in pieces, alone or in a batch, after a pickle."""

import copy
import pickle
import threading

import numpy as np
import pytest
from contracts import OPTIMIZERS, assert_bitwise, flat, problem

from skintricate import Model
from skintricate.layers import GELU, Dense, Dropout, SoftMax, TanH
from skintricate.losses import CategoricalCrossEntropy
from skintricate.optimizers import Adam, CosineRate

NETWORK = [Dense(50), GELU(), Dropout(0.2), Dense(9), TanH(), Dense(3), SoftMax()]
X, Y = problem(CategoricalCrossEntropy(), 61, 6)


def new(device, seed=3, dtype="float32"):
    """Return an untrained model."""
    return Model(NETWORK, device=device, dtype=dtype, random_state=seed)


def fit(model, epochs, optimizer=None):
    """Train a model for some epochs."""
    optimizer = optimizer or Adam(CosineRate(0.01, 8))
    return model.fit(X, Y, loss=CategoricalCrossEntropy(), optimizer=optimizer, batch_size=16, max_iter=epochs)


def everything(model):
    """Return all arrays that training made."""
    return [*model.state.weights, *flat(model.state.optimizer_states), model.predict(X)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_seed_same_bits(dtype, float64):
    models = [new(float64, dtype=dtype) for _ in range(2)]
    histories = [fit(model, 5) for model in models]
    assert_bitwise(*map(everything, models))
    assert_bitwise(*([history.step_loss, history.step_accuracy] for history in histories))


def test_seeds_differ(device):
    models = [new(device, seed) for seed in (0, 1, None, None)]
    for model in models:
        fit(model, 1)
    assert len({model.coefs_[0].tobytes() for model in models}) == 4


def test_large_seeds(device):
    models = [new(device, seed) for seed in (2**63, 2**63 + 2**40, np.int64(7), 7)]
    for model in models:
        fit(model, 1)
    assert len({model.coefs_[0].tobytes() for model in models}) == 3


@pytest.mark.parametrize(
    "duplicate", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy, copy.copy], ids=["pickle", "deepcopy", "copy"]
)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_training_goes_on_after(duplicate, optimizer, device):
    uninterrupted, begun = new(device), new(device)
    fit(uninterrupted, 5, optimizer)
    fit(begun, 2, optimizer)
    before = everything(begun)
    resumed = duplicate(begun)
    assert_bitwise(everything(resumed), before)
    fit(resumed, 3, optimizer)
    assert_bitwise(everything(resumed), everything(uninterrupted))
    assert_bitwise(everything(begun), before)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_training_goes_on_after_a_file(optimizer, device, tmp_path):
    uninterrupted, begun = new(device), new(device)
    fit(uninterrupted, 5, optimizer)
    fit(begun, 2, optimizer)
    begun.save(tmp_path / "model")
    resumed = Model.load(tmp_path / "model")
    assert_bitwise(everything(resumed), everything(begun))
    fit(resumed, 3, optimizer)
    assert_bitwise(everything(resumed), everything(uninterrupted))


def test_an_untrained_model_survives_copies(device, tmp_path):
    model = new(device)
    model.save(tmp_path / "model")
    models = [pickle.loads(pickle.dumps(model)), copy.deepcopy(model), Model.load(tmp_path / "model"), model]
    for each in models:
        fit(each, 2)
    for each in models[:3]:
        assert_bitwise(everything(each), everything(model))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_alone_and_in_a_batch(dtype, float64):
    model = new(float64, dtype=dtype)
    fit(model, 2)
    rows = np.random.default_rng(0).normal(size=(400, 6))
    together = model.predict(rows)
    for count in (1, 2, 15, 16, 17, 129):
        assert_bitwise([model.predict(rows[:count])], [together[:count]])
    assert_bitwise([np.concatenate([model.predict(row[None]) for row in rows[:60]])], [together[:60]])


def test_prediction_does_not_change_training(device):
    models = [new(device), new(device)]
    for _ in range(3):
        for model in models:
            fit(model, 1)
        models[0].predict(X)
    assert_bitwise(*map(everything, models))


def test_threads_share_a_model(device):
    model, results = new(device), {}
    fit(model, 2)
    rows = np.random.default_rng(0).normal(size=(300, 6))
    expected = model.predict(rows)

    def work(number):
        results[number] = [model.predict(rows[: 10 * (k + 1)]) for k in range(20)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for outputs in results.values():
        assert_bitwise(outputs, [expected[: 10 * (k + 1)] for k in range(20)])
    assert len(results) == 4


def test_threads_train_models_of_their_own(device):
    alone, models = new(device), [new(device) for _ in range(3)]
    fit(alone, 4)
    threads = [threading.Thread(target=fit, args=(model, 4)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model in models:
        assert_bitwise(everything(model), everything(alone))


def test_inputs_are_left_alone(device):
    arrays = [X.copy(), Y.copy(), np.ones(len(X))]
    model = new(device, dtype="float32")
    arguments = [array.astype("float32") for array in arrays]
    kept = [array.copy() for array in arguments]
    model.fit(*arguments[:2], loss="categorical_cross_entropy", sample_weight=arguments[2], max_iter=2)
    model.predict(arguments[0])
    assert_bitwise(arguments, kept)
