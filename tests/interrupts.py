"""Ctrl-C at a chosen instruction, so that every moment can be tried and none is waited for; and
bursts at random times, for a drill."""

import os
import signal
import sys
import threading
import time
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


@contextmanager
def bursts(inside, rng, usual):
    """A function that calls another under a burst of four SIGINTs, at most 50 µs apart, and tells
    whether it was interrupted; only what runs in the code object `inside` is disturbed."""
    main = threading.get_ident()

    def interrupt(number, frame):
        while frame is not None:
            if frame.f_code is inside:
                raise KeyboardInterrupt
            frame = frame.f_back

    def fire(delays):
        for delay in delays:
            time.sleep(delay)
            signal.pthread_kill(main, signal.SIGINT)

    def call(function):
        delays = [rng.uniform(0, usual), *rng.uniform(0, 5e-5, 3)]
        thread = threading.Thread(target=fire, args=(delays,))
        thread.start()
        try:
            function()
        except KeyboardInterrupt:
            return True
        finally:
            thread.join()
        return False

    before, interval = signal.signal(signal.SIGINT, interrupt), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)                            # else the thread waits for 5 ms
    try:
        yield call
    finally:
        signal.signal(signal.SIGINT, before)
        sys.setswitchinterval(interval)


def usual_time(function, times=100):
    """Seconds that a call takes."""
    start = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - start) / times
