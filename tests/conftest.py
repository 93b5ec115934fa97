"""What every test can rely on."""

import signal

import pytest

collect_ignore = ["typing"]                  # scripts for type checkers; see test_typing.py


@pytest.fixture(autouse=True)
def interrupts_arrive():
    """Ctrl-C raises KeyboardInterrupt, here and in child processes, also where whoever started
    the tests ignores it, as a shell does for its background jobs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
