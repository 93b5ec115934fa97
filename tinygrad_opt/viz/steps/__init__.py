"""Both passes of backpropagation, step by step.

derivatives     the derivative of every operation as text, from its VJPs
words, script   what a step says
page            playback: one self-contained page that plays the steps
explanation     explain: the same as text, with finite differences
formula         "tanh(a*b + c)" as a graph, parsed safely
"""
