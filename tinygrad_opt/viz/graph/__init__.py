"""The graph of a computation as a picture.

draw        draw and GraphView
model       Graph, Node, Edge, Cluster, Row; trace makes them of a Tensor
flow        what flows back along every arrow, from the engine's own backward pass
modules     frames around what a module computes; scope
simplify    aliases of shared leaves, folded loops, closed modules; repeats finds loops and layers
programs    what a compiled step does, as a graph; parts: its passes side by side, layers once
engines     Graphviz wherever one is found; layout: boxes and arrows placed without it
look        borders, type sizes and legend; svg, dot, text: the three ways to write a drawing
"""
