"""Intricate's first example: a model learns the exclusive or, is saved, and read again.

python examples/xor.py
"""

import tempfile
from pathlib import Path

from skintricate import Model
from skintricate.layers import Dense, TanH

X = [[0, 0], [0, 1], [1, 0], [1, 1]]
y = [[0], [1], [1], [0]]

xor = Model([Dense(3), TanH(), Dense(1), TanH()], random_state=1)
history = xor.fit(X, y, loss="mean_squared", optimizer="basic", learning_rate=0.1, max_iter=10_000)
print(f"loss {history.loss[0]:.4f} at first, {history.loss[-1]:.6f} after {len(history)} epochs on {xor.device_}")

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "xor.safetensors")
    xor.save(path)
    again = Model.load(path)

for inputs, output in zip(X, again.predict(X)):
    print(inputs, "->", f"{output[0]:.3f}")
