"""Training on chunks, with a dump to disk in the middle: what is read back goes on exactly where it was.

python examples/partial_fit.py
"""

import tempfile
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skintricate import IntricateClassifier

CHUNKS = 9
EPOCHS = 10


def main():
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, stratify=y, random_state=0)
    chunks = list(zip(np.array_split(X_train, CHUNKS), np.array_split(y_train, CHUNKS)))
    classes = np.unique(y)

    interrupted = IntricateClassifier(100, learning_rate=0.003, random_state=0)
    for epoch in range(EPOCHS):
        for X_chunk, y_chunk in chunks:
            interrupted.partial_fit(X_chunk, y_chunk, classes=classes)
        if epoch == EPOCHS // 2:
            interrupted = dumped_and_loaded(interrupted)
        print(f"epoch {epoch + 1}: loss {interrupted.loss_:.4f}, accuracy {interrupted.score(X_test, y_test):.3f}")

    straight = IntricateClassifier(100, learning_rate=0.003, random_state=0)
    for _ in range(EPOCHS):
        for X_chunk, y_chunk in chunks:
            straight.partial_fit(X_chunk, y_chunk, classes=classes)
    same = all(np.array_equal(a, b) for a, b in zip(interrupted.coefs_, straight.coefs_))
    print(f"bitwise the weights of training without the interruption: {same}")


def dumped_and_loaded(estimator):
    """Return what joblib reads back of an estimator it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "half-way.joblib")
        joblib.dump(estimator, path)
        print(f"dumped {path.stat().st_size} bytes and loaded them again")
        return joblib.load(path)


if __name__ == "__main__":
    main()
