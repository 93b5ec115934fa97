"""The chain rule on a graph.

There may be several paths from x to L. Each is given as the list of the local derivatives along
its edges. Return dL/dx. Without any path L does not depend on x.
"""


def derivative(paths):
    total = 0
    for path in paths:
        product = 1
        for slope in path:
            product *= slope
        total += product
    return total
