"""The next letter from all before it, by attention: a GPT in 20 lines, and where it looks.

    python demos/names_gpt.py [--quick] [--out FOLDER]

Writes a map of the attention: how much each letter of a name takes from those before it.
"""

import numpy as np
from helpers import command_line, save_both
from write_names import LENGTH, SIGNS, climb, encode

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.viz.plots.models import plot_attention


class GPT(nn.Module):
    """Letters in, scores of the next one out, at every place of a name."""

    def __init__(self, width=32, heads=4, blocks=2, rng=None):
        rng = np.random.default_rng(rng)
        self.letters = nn.Embedding(len(SIGNS), width, init=0.1, rng=rng)
        self.places = nn.PositionalEmbedding(LENGTH, width, init=0.1, rng=rng)
        self.blocks = [nn.TransformerBlock(width, heads, causal=True, dropout=0.2, rng=rng)
                       for _ in range(blocks)]
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(SIGNS), rng=rng)

    def forward(self, x, weights=False):
        h, maps = self.places(self.letters(x)), []
        for block in self.blocks:
            h, p = block(h, weights=True)
            maps.append(p)
        scores = self.head(self.norm(h))
        return (scores, maps) if weights else scores


def main(out="runs", quick=False):
    model, name = GPT(rng=0), ".christina"
    rung = climb("GPT", model, epochs=40, lr=0.005, quick=quick)
    with tg.no_grad():
        _, maps = model(encode([name[1:]])[0], weights=True)
    seen = maps[-1][0, :, : len(name), : len(name)]
    save_both(lambda theme: plot_attention(seen, name, theme=theme), out, "attention")
    return [rung]


if __name__ == "__main__":
    command_line(main, __doc__)
