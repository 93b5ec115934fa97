"""Ctrl-C at a chosen instruction, so that every moment can be tried and none is waited for."""

import os
import signal
import sys
from contextlib import contextmanager


class Burst:
    """SIGINT, `count` times in a row, from the n-th line or bytecode instruction of a package on.

    ``reached`` tells whether there was an n-th one.
    """

    def __init__(self, n, count=1, moment="line", package="tinygrad_opt"):
        self.n, self.count, self.moment, self.package = n, count, moment, package

    @property
    def reached(self):
        return self.n <= 0

    def __call__(self, frame, event, argument):
        if self.package not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = self.moment == "opcode"
        if event == self.moment:
            self.n -= 1
            if self.reached and self.count:
                self.count -= 1
                os.kill(os.getpid(), signal.SIGINT)
        return self


@contextmanager
def interrupted(burst):
    """Run a block under a `Burst`; whether the interrupt comes out of it or not, it ends here."""
    tracer = sys.gettrace()
    try:
        sys.settrace(burst)
        yield
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(tracer)
