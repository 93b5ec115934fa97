"""``python -m tinygrad_opt.exercises NAME FILE``: judge one solution, in a process of its own."""

import sys

from tinygrad_opt.exercises.checks import CHECKS
from tinygrad_opt.exercises.judge import Wrong, solution

if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")               # type: ignore[union-attr]
    try:
        CHECKS[sys.argv[1]].run(solution(sys.argv[2]))
        print("right")
    except Wrong as wrong:
        print(wrong)
        sys.exit(1)
    except Exception as error:
        print(f"What came back cannot be judged ({type(error).__name__}: {error}): is it what the"
              " exercise asks for?")
        sys.exit(1)
