"""The backward pass.

`nodes` is in topological order, its last node is the result. Each node has .inputs, a list of
nodes, and .slopes, the derivatives of the node by each of these, numbers. A node may be an input
of several others, or twice of one. Return a dict: node -> derivative of the result by the node.
"""


def backward(nodes):
    gradients = dict.fromkeys(nodes, 0.0)
    gradients[nodes[-1]] = 1.0
    for node in reversed(nodes):
        for x, slope in zip(node.inputs, node.slopes):
            gradients[x] += gradients[node] * slope
    return gradients
