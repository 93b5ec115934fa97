"""Handwritten digits by the loop that `fit` runs for you, written out.

    python demos/digits.py [--quick] [--out FOLDER]
"""

import numpy as np
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt.viz import plot_samples


def main(out="runs", quick=False):
    epochs = 3 if quick else 30
    x, y = tg.data.digits()
    x_train, x_test, y_train, y_test = tg.data.train_test_split(x / 16, y, rng=0)
    model = tg.nn.MLP([64, 32, 10], activation="relu", rng=0)
    opt = tg.optim.Adam(model.parameters(), lr=0.003)
    rng = np.random.default_rng(0)

    for epoch in range(epochs):
        total = 0.0
        for xb, yb in tg.data.minibatches(x_train, y_train, 32, rng=rng):
            loss = tg.nn.cross_entropy(model(xb), yb)
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += float(loss) * len(xb)
        if epoch % 5 == 4 or epoch == epochs - 1:
            with tg.no_grad():
                accuracy = np.mean(np.argmax(model(x_test), axis=1) == y_test)
            print(f"epoch {epoch + 1:2}  loss {total / len(x_train):.4f}  test {accuracy:.2%}")

    with tg.no_grad():
        scores = model(x_test)
        predicted = np.argmax(scores, axis=1)
    for i in np.flatnonzero(predicted != y_test)[:2]:
        print(f"taken for {predicted[i]}, is {y_test[i]}:")
        for row in x_test[i].reshape(8, 8):
            print("".join(" ·+#@"[int(4 * v)] for v in row))
    save_both(lambda theme: plot_samples(x_test, y_test, scores, theme=theme), out, "digits")
    return accuracy


if __name__ == "__main__":
    command_line(main, __doc__)
