"""A topological order.

Each node has .inputs, the nodes that it was computed from. Return a list of all nodes that `end`
was computed from, and of `end` itself: each once, and each after all of its inputs. A graph may be
thousands of nodes deep, and Python allows a thousand nested calls.
"""


def order(end):
    found, seen, stack = [], set(), [(end, False)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            found.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(x, False) for x in node.inputs]
    return found
