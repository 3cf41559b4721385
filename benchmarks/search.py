"""A grid search over learning rates, as one launch and as a queue of fits: digits, 64-100-10, batch 200.

    python benchmarks/search.py                                   # 20 rates x 5 folds, the preferred device
    python benchmarks/search.py --device pocl --rounds 5
    python benchmarks/search.py --rates 100 --jobs 16 --skorch 2  # on a GPU; skorch for 2 rates, scaled up

Whole wall time of ``fit`` with scoring, without refit. Contenders alternate; medians count. Before anything is timed,
the scores of skintricate's search are compared with those of scikit-learn's over the same estimator. Of a search that
is trained together, the last column has the launches of training alone, in us a step of one network.
"""

import argparse
import statistics
import time
import warnings

import numpy as np
from contenders import skorch, torch
from datasets import digits
from report import machine, table
from sklearn import model_selection
from sklearn.neural_network import MLPClassifier

from skintricate import IntricateClassifier
from skintricate.backend import open_device
from skintricate.model_selection import GridSearchCV
from skintricate.training.cohort import Cohort

BATCH, UNITS = 200, 100


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rates", type=int, default=20)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=2, help="processes of scikit-learn's searches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skorch", type=int, default=0, help="rates that skorch tries on the GPU, in one process")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    device = open_device(arguments.device)
    X, y = digits()
    print(f"{arguments.rates} rates x {arguments.folds} folds x {arguments.epochs} epochs on {device.info}")
    print(machine(), "\n")
    check(X, y, arguments)
    steps = time_training(Cohort)
    rates = np.geomspace(1e-4, 1e-1, arguments.rates)
    searches = {
        "skintricate, together": (GridSearchCV, ours(arguments), {"learning_rate": rates}, None),
        "skintricate, scikit-learn's search": (sklearn, ours(arguments), {"learning_rate": rates}, arguments.jobs),
        "MLPClassifier": (sklearn, mlp(arguments), {"learning_rate_init": rates}, arguments.jobs),
    }
    if arguments.skorch:
        few = rates[:: max(1, len(rates) // arguments.skorch)][: arguments.skorch]
        searches["skorch"] = sklearn, skorch_net(arguments), {"lr": few}, 1
    seconds = {name: [] for name in searches}
    for _ in range(arguments.rounds):
        for name, (search, estimator, space, jobs) in searches.items():
            steps.clear()
            scale = arguments.rates / len(next(iter(space.values())))
            seconds[name].append(scale * timed(search, estimator, space, jobs, X, y, arguments))
            if steps:
                training = sum(spent for spent, _ in steps) / sum(count for _, count in steps)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    first = medians["skintricate, together"]
    rows = [
        [name, f"{value:.2f}", f"{value / first:.2f}", f"{training * 1e6:.2f}" if value is first else ""]
        for name, value in medians.items()
    ]
    print(table(["search", "s", "times the first", "us a step"], rows))


def sklearn(*arguments, **options):
    """Return scikit-learn's search."""
    return model_selection.GridSearchCV(*arguments, **options)


def ours(arguments):
    """Return the network, trained a fixed number of epochs."""
    return IntricateClassifier(
        (UNITS,),
        batch_size=BATCH,
        max_iter=arguments.epochs,
        n_iter_no_change=None,
        random_state=0,
        device=arguments.device,
    )


def mlp(arguments):
    """Return scikit-learn's network, trained as long."""
    return MLPClassifier(
        (UNITS,),
        batch_size=BATCH,
        max_iter=arguments.epochs,
        n_iter_no_change=arguments.epochs,
        tol=0,
        alpha=0,
        random_state=0,
    )


def skorch_net(arguments):
    """Return skorch's network on a GPU, or the CPU where torch has none."""
    network = torch.nn.Sequential(torch.nn.Linear(64, UNITS), torch.nn.ReLU(), torch.nn.Linear(UNITS, 10))
    return skorch.NeuralNetClassifier(
        network,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        optimizer__fused=True,
        batch_size=BATCH,
        max_epochs=arguments.epochs,
        train_split=None,
        iterator_train__shuffle=True,
        callbacks__print_log=None,
        device="cuda" if torch.cuda.is_available() else "cpu",
        verbose=0,
    )


def check(X, y, arguments):
    """Compare the scores of a small search with scikit-learn's, which also builds and warms up what is timed."""
    space = {"learning_rate": [1e-3, 1e-2]}
    options = {"cv": arguments.folds, "refit": False}
    mine, wanted = (
        search(ours(arguments), space, **options).fit(X, y).cv_results_["mean_test_score"]
        for search in (GridSearchCV, model_selection.GridSearchCV)
    )
    print(f"Scores differ by at most {np.abs(mine - wanted).max():.2g} from those of scikit-learn's search.\n")
    if np.abs(mine - wanted).max() > 0.01:
        raise SystemExit("They must not.")


def time_training(cohort):
    """Let every launch note its seconds and the steps of all networks in it; return where it does."""
    notes, launch = [], cohort._launch

    def noted(self, members, steps, groups):
        count = sum(min(steps, member.steps_left) for member in members)
        started = time.perf_counter()
        launch(self, members, steps, groups)
        if members[0].most_steps > 1:
            notes.append((time.perf_counter() - started, count))

    cohort._launch = noted
    return notes


def timed(search, estimator, space, jobs, X, y, arguments):
    """Return the seconds of a search."""
    search = search(estimator, space, cv=arguments.folds, refit=False, n_jobs=jobs)
    started = time.perf_counter()
    search.fit(X, y)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
