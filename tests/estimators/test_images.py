"""X of images: the same as rows with a Reshape in front, in fits, scores, searches and pickles."""

import pickle

import numpy as np
import pytest
from contracts import assert_bitwise
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from skintricate import IntricateClassifier, IntricateRegressor, Model
from skintricate import model_selection as together
from skintricate.layers import Conv2D, Dense, GlobalAvgPool2D, MaxPool2D, Reshape, SoftMax

ROWS, Y = load_digits(return_X_y=True)
ROWS, Y = (ROWS / 16).astype(np.float32)[:600], Y[:600]
IMAGES = ROWS.reshape(-1, 8, 8, 1)
LAYERS = [("convolution", Conv2D(8, 3, padding="same")), "relu", MaxPool2D(), ("dense", Dense(32)), "relu"]


def new(layers=LAYERS, **parameters):
    """Return a classifier of few epochs."""
    options = {"max_iter": 8, "learning_rate": 0.01, "n_iter_no_change": None, "random_state": 0}
    return IntricateClassifier(layers, **{**options, **parameters})


def test_images_are_rows_with_a_shape(device):
    images, rows = new(device=device).fit(IMAGES, Y), new([Reshape((8, 8, 1)), *LAYERS], device=device).fit(ROWS, Y)
    assert images.n_features_in_ == 64
    assert images.model_.layers[0] == Reshape((8, 8, 1))
    assert [w.shape for w in images.coefs_] == [(3, 3, 1, 8), (128, 32), (32, 10)]
    np.testing.assert_array_equal(images.predict_proba(IMAGES[:50]).shape, (50, 10))
    np.testing.assert_allclose(images.predict_proba(IMAGES), images.predict_proba(ROWS), rtol=1e-6)
    assert images.score(IMAGES, Y) > 0.8
    assert rows.score(IMAGES, Y) > 0.8
    assert_bitwise([pickle.loads(pickle.dumps(images)).predict_proba(IMAGES)], [images.predict_proba(IMAGES)])


def test_validation_images_and_going_on(device):
    classifier = new(device=device, early_stopping=True, warm_start=True, max_iter=2)
    classifier.fit(IMAGES[:500], Y[:500], X_val=IMAGES[500:], y_val=Y[500:]).fit(IMAGES[:500], Y[:500])
    assert len(classifier.validation_scores_) == 2
    chunks = new(device=device)
    for part in (slice(0, 300), slice(300, 600)):
        chunks.partial_fit(IMAGES[part], Y[part], classes=np.unique(Y))
    chunks.partial_fit(ROWS, Y)
    assert chunks.n_iter_ == 3
    with pytest.raises(ValueError, match=r"X_val has samples of shape \(4, 16, 1\)"):
        clone(classifier).fit(IMAGES, Y, X_val=IMAGES.reshape(-1, 4, 16, 1), y_val=Y)


def test_searches(device):
    grid = {"layers__dense__units": [8, 16], "layers__convolution__filters": [3, 8]}
    searches = [cls(new(device=device, max_iter=2), grid, cv=2) for cls in (GridSearchCV, together.GridSearchCV)]
    scores = [search.fit(IMAGES, Y).cv_results_["mean_test_score"] for search in searches]
    np.testing.assert_allclose(*scores, atol=0.02)


@pytest.mark.parametrize("shape", [(4, 16, 1), (8, 4, 2), (64, 1)])
def test_other_shapes_are_refused(shape, device):
    classifier = new(device=device, max_iter=1).fit(IMAGES, Y)
    with pytest.raises(ValueError, match=r"expected samples of shape \(8, 8, 1\)"):
        classifier.predict(IMAGES.reshape(-1, *shape))


def test_a_model_goes_on_with_images_of_its_shape(device):
    model = Model([Conv2D(4, 3), Dense(10), SoftMax()], device=device, random_state=0)
    model.fit(IMAGES, Y, loss="categorical_cross_entropy", max_iter=1)
    for X in (IMAGES, ROWS):
        model.fit(X, Y, loss="categorical_cross_entropy", max_iter=1, validation_data=(IMAGES[:9], Y[:9]))
    with pytest.raises(ValueError, match=r"expected samples of shape \(8, 8, 1\)"):
        model.fit(IMAGES.reshape(-1, 4, 16, 1), Y, loss="categorical_cross_entropy", max_iter=1)
    assert model.layers == [Reshape((8, 8, 1)), Conv2D(4, 3), Dense(10), SoftMax()]


@pytest.mark.parametrize("X", [ROWS, IMAGES], ids=["rows", "images"])
def test_a_shape_with_a_gap_to_fill(X, device):
    layers = [Reshape((8, 8, -1)), Conv2D(4, 3), "relu"]
    classifier = new(layers, device=device, max_iter=1).fit(X, Y)
    assert classifier.model_.layers[:2] == layers[:2]
    assert_bitwise([classifier.predict_proba(IMAGES)], [classifier.predict_proba(ROWS)])


def test_rows_are_no_images(device):
    with pytest.raises(ValueError, match=r"Conv2D.*put a Reshape before it"):
        new(device=device).fit(ROWS, Y)


def test_a_regressor_of_images(device):
    regressor = IntricateRegressor([Conv2D(4, 3), "relu", GlobalAvgPool2D()], max_iter=3, device=device, random_state=0)
    regressor.set_params(n_iter_no_change=None).fit(IMAGES, IMAGES.mean(axis=(1, 2, 3)))
    assert regressor.predict(IMAGES).shape == (600,)


def test_a_model_of_images(device, tmp_path):
    model = Model([Conv2D(4, 3), Dense(10), SoftMax()], device=device, random_state=0)
    model.fit(IMAGES, Y, loss="categorical_cross_entropy", max_iter=1, validation_data=(IMAGES[:9], Y[:9]))
    assert model.layers[0] == Reshape((8, 8, 1))
    assert model.outputs(IMAGES[:3])[1].shape == (3, 6, 6, 4)
    model.save(tmp_path / "model")
    assert_bitwise([Model.load(tmp_path / "model").predict(IMAGES)], [model.predict(IMAGES)])
