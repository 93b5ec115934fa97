"""An operation of your own.

softsign(x) = x / (1 + |x|). The first lambda is its value; the second its VJP: from the gradient g
of the result z, and x, the gradient of x. Write it with NumPy's functions: it is run on Tensors
too, for derivatives of derivatives.
"""

import numpy as np

import tinygrad_opt as tg

softsign = tg.op("softsign", lambda x: x / (1 + np.abs(x)),
                 lambda g, z, x: g / (1 + np.abs(x)) ** 2)
