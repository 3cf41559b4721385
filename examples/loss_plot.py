"""The loss curve, drawn in the terminal while training goes on.

python examples/loss_plot.py
"""

from sklearn.datasets import load_diabetes
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skintricate import IntricateRegressor
from skintricate.training import LossPlot

X, y = load_diabetes(return_X_y=True)
network = IntricateRegressor(
    (64, 64), learning_rate=0.001, max_iter=2000, n_iter_no_change=None, random_state=0, verbose=LossPlot(every=100)
)
model = make_pipeline(StandardScaler(), network).fit(X, y)
print(f"R^2 on the training data {model.score(X, y):.3f} on {network.device_}")
