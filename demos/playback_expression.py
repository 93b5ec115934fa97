"""A page that plays backpropagation through tanh(a·b + c) · a, and the same as text.

    python demos/playback_expression.py
"""

from tinygrad_opt.viz import explain, formula, playback


def main():
    f = formula.parse("tanh(a*b + c) * a", a=2, b=-3, c=6.5)
    f.name = "f"
    page = playback(f, "expression.html")
    a = next(t for t in page.flow.gradients if t.name == "a")
    print(explain(f, a))                 # a is used twice, so its gradient is a sum
    print(f"open expression.html: {page}")
    return page


if __name__ == "__main__":
    main()
