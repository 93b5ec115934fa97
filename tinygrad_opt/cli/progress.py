"""How far a command is: a bar in a terminal, a few lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

__all__ = ["Counter"]

PAUSE = 2.0                       # seconds between two lines


class Counter:
    """Counts up: ``watch(done, all)``, to be closed at the end.

    As in training, a bar is drawn by tqdm where it is installed and a line can be drawn over;
    elsewhere there is a line now and then.
    """

    def __init__(self, what: str, quiet: bool) -> None:
        from tinygrad_opt.train.progress import progress_for

        self.what, self.quiet = what, quiet
        self.tqdm = getattr(progress_for(not quiet), "tqdm", None)
        self.bar: Any = None
        self.start = self.told = time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        if self.tqdm:
            if self.bar is None:
                self.bar = self.tqdm(total=total, desc=self.what, dynamic_ncols=True)
            self.bar.update(done - self.bar.n)
            return
        now = time.perf_counter()
        if not self.quiet and now - self.told > PAUSE:
            self.told = now
            print(f"{self.what}: {done} of {total} after {now - self.start:.1f} s",
                  file=sys.stderr, flush=True)

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *error: Any) -> None:
        if self.bar is not None:
            self.bar.close()
