"""A role's process: it looks for garbage seldom, and ends at once, with one line, when something is wrong."""

from __future__ import annotations

import gc
import logging
import os
import sys
from typing import NoReturn

import structlog
from aiokafka.errors import KafkaError

from streams.errors import CallmeterError

log = structlog.get_logger("callmeter")

# Accounts live as long as the process, records until they are stored: looking through them again and again for garbage
# would cost a tenth of the rate.
GC_THRESHOLDS = (100_000, 50, 100)


def collect_seldom() -> None:
    """Collect garbage now, and then only now and then, leaving out what is there now."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def fail(error: BaseException) -> NoReturn:
    """End the process non-zero.

    Nothing is cleaned up, on purpose: an orderly stop could store something that came of the error. Open transactions
    are aborted by whoever fences this process.

    Args:
        error: why. A `CallmeterError` speaks for itself, and so does a failure of the broker; anything else is a defect
            and is logged with its origin.
    """
    if isinstance(error, CallmeterError):
        log.error(str(error))
        code = error.exit_code
    elif isinstance(error, KafkaError):
        log.error(f"stopped because the broker did not do its part: {error!r}")
        code = 1
    else:
        log.error(f"stopped by an error: {type(error).__name__}: {error}", exc_info=error)
        code = 70
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
