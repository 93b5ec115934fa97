"""A page that plays backpropagation through tanh(a·b + c) · a, and the same as text.

    python demos/playback_expression.py [--out FOLDER]
"""

from helpers import command_line, save_drawing

from tinygrad_opt.viz import explain, formula, playback


def main(out="runs", quick=False):
    f = formula.parse("tanh(a*b + c) * a", a=2, b=-3, c=6.5)
    f.name = "f"
    page = playback(f)
    a = next(t for t in page.flow.gradients if t.name == "a")
    print(explain(f, a))                 # a is used twice, so its gradient is a sum
    print(page)
    save_drawing(page, out, "playback_expression", "html")
    return page


if __name__ == "__main__":
    command_line(main, __doc__)
