from tinygrad_opt import numpy_functions  # noqa: F401
from tinygrad_opt.tensor import Tensor, no_grad, set_default_dtype
from tinygrad_opt.autograd import *
from tinygrad_opt.ops import op
