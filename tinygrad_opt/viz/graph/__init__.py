"""The graph of a computation as a picture.

model       Graph, Node, Edge, Cluster, Row; tracing: trace, which makes them of a Tensor
flow        what flowed along every arrow, taken from the engine's own walk; backward draws it
modules     frames around what a module computes; scope
simplify    aliases of shared leaves, folded loops, closed modules; repeats: finds loops and layers
programs    what a compiled step does, as a graph; parts: its passes side by side, layers once
layers      which column and row a box stands in; layout: the boxes and arrows in points
engines     Graphviz wherever one is found, and the built-in layout
look        colours, sizes, number formats; svg, dot, text: the three ways to write a drawing
view        draw and GraphView
"""
