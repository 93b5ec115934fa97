"""REINFORCE: a policy learns its way through a grid by what it is paid, and by nothing else.

    python demos/reinforce.py [--quick] [--out FOLDER]

Each move costs a little, the pit a lot, the goal pays; one move in ten slips. Of many walks, every
move is made more likely by how much more was paid after it than on average (Williams, 1992).
"""

import numpy as np
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.viz.figures import drawing, through

GRID = ["########",                                         # walls, the start, a pit and the goal
        "#......#",
        "#.##.#.#",
        "#.#...X#",
        "#.#.#..#",
        "#S..#.G#",
        "########"]
CELLS, WIDTH = np.array([*"".join(GRID)]), len(GRID[0])
START, WALL, END = CELLS.tolist().index("S"), CELLS == "#", (CELLS == "X") | (CELLS == "G")
PAYS = np.select([CELLS == "G", CELLS == "X"], [1.0, -1.0], -0.04)
MOVES = np.array([-WIDTH, WIDTH, -1, 1])                    # up, down, left, right
THERE = np.arange(CELLS.size)[:, None] + MOVES
NEXT = np.where(WALL[THERE % CELLS.size], THERE - MOVES, THERE)        # walls hold a walk back
LONGEST, SLIP = 40, 0.1


def walks(policy, n, rng):
    """n walks at once: where each was, what it did, what that paid, and whether it still went."""
    cell, record = np.full(n, START), []
    for _ in range(LONGEST):
        p = policy[cell].cumsum(axis=1)
        action = (p > p[:, -1:] * rng.random((n, 1))).argmax(axis=1)
        slips, going = rng.random(n) < SLIP, ~END[cell]
        there = NEXT[cell, np.where(slips, rng.integers(0, 4, n), action)]
        record.append((cell, action, PAYS[there] * going, going))
        cell = np.where(going, there, cell)
    return [np.array(column) for column in zip(*record)]    # each of shape (time, n)


def learn(rounds, n=64):
    """How likely each move is in each cell, and what the walks of each round paid."""
    rng, model = np.random.default_rng(0), nn.Embedding(CELLS.size, 4, init="zeros")
    opt, paid = tg.optim.Adam(model.parameters(), lr=0.1), []
    for _ in range(rounds):
        policy = nn.softmax(model.weight).data
        cell, action, pay, going = walks(policy, n, rng)
        later = pay[::-1].cumsum(axis=0)[::-1]              # what is paid from each move on
        better = (later - later.mean(axis=1, keepdims=True))[going]
        surprise = nn.cross_entropy(model(cell[going]), action[going], reduction="none")
        loss = (surprise * better).sum() / n                # its gradient is that of −E[pay]
        opt.zero_grad()
        loss.backward()
        opt.step()
        paid.append(pay.sum(axis=0).mean())
    return policy, np.array(paid)


def best():
    """What the best policy is paid, by value iteration, which knows the whole grid."""
    value = np.zeros(CELLS.size)
    for _ in range(LONGEST):
        q = PAYS[NEXT] + np.where(END, 0, value)[NEXT]
        value = (1 - SLIP) * q.max(axis=1) + SLIP * q.mean(axis=1)
    return value[START]


def picture(policy, paid, theme):
    with drawing((6.0, 2.8), theme=theme) as (figure, page):
        left, right = figure.subplots(1, 2)
        left.imshow(WALL.reshape(-1, WIDTH), cmap=through([page.panel, page.frame]))
        for name, row, column in (("pit", 3, 6), ("goal", 5, 6)):
            left.text(column, row, name, ha="center", va="center")
        where = np.flatnonzero(~WALL & ~END)
        for p, across, down in zip(0.45 * policy[where].T, (0, 0, -1, 1), (-1, 1, 0, 0)):
            left.quiver(where % WIDTH, where // WIDTH, across * p, down * p, color=page.value,
                        width=0.01, angles="xy", scale_units="xy", scale=1)
        left.set(title="how likely it moves where", xticks=[], yticks=[])
        right.axhline(best(), color=page.muted, linestyle="--", label="the best policy")
        right.plot(paid, color=page.value, label="64 walks")
        right.set(xlabel="round", title="what a walk is paid")
        right.legend()
    return figure


def main(out="runs", quick=False):
    policy, paid = learn(60 if quick else 300)
    first, last = paid[0], paid[-20:].mean()
    print(f"a walk is paid {first:.2f} at first, {last:.2f} at last; at best {best():.2f}")
    save_both(lambda theme: picture(policy, paid, theme), out, "reinforce")
    return last, first, best()


if __name__ == "__main__":
    command_line(main, __doc__)
