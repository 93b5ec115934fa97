"""``python -m tinygrad_opt`` is ``tinygrad-opt``."""

import sys

from tinygrad_opt.cli import main

if __name__ == "__main__":
    sys.exit(main())
