"""Digits in a scikit-learn pipeline: a grid search over networks, beside scikit-learn's own.

    python demos/scikit_learn.py [--quick] [--out FOLDER]
"""

import time
import warnings

from helpers import command_line, save_both

from tinygrad_opt.data import digits, train_test_split
from tinygrad_opt.viz import plot_history


def main(out="runs", quick=False):
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.model_selection import GridSearchCV
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import MinMaxScaler

        from tinygrad_opt.interop import TinyClassifier
    except ImportError as error:
        print(error)
        return None
    warnings.simplefilter("ignore", ConvergenceWarning)
    x, x_test, y, y_test = train_test_split(*digits(), rng=0)

    network = TinyClassifier(max_iter=5 if quick else 30, random_state=0)
    pipe = make_pipeline(MinMaxScaler(), network)
    grid = {"tinyclassifier__hidden_layer_sizes": [(16,), (64,), (32, 32)],
            "tinyclassifier__optimizer": ["adam:lr=0.01", "sgd:lr=0.1,momentum=0.9"]}
    search = GridSearchCV(pipe, grid, cv=3).fit(x, y)
    for options, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"]):
        print(f"{score:.2%}", *options.values())
    print(f"the best on the test set: {search.score(x_test, y_test):.2%}")

    scores = {}
    for estimator in (TinyClassifier, MLPClassifier):
        pipe = make_pipeline(MinMaxScaler(), estimator(max_iter=20 if quick else 200,
                                                       random_state=0))
        start = time.perf_counter()
        scores[estimator] = pipe.fit(x, y).score(x_test, y_test)
        print(f"{estimator.__name__:14} {scores[estimator]:.2%} right, with the options that both"
              f" have by default, in {time.perf_counter() - start:.2f} s")

    best = search.best_estimator_[-1]
    save_both(lambda theme: plot_history(best.history_, theme=theme), out, "scikit_learn")
    return scores[TinyClassifier]


if __name__ == "__main__":
    command_line(main, __doc__)
