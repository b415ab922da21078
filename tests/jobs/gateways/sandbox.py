"""Runs the Stripe gateway's tests on Stripe's own sandbox, where there is a key for it: ``make test-stripe``.

Asking, canceling, crediting and refunding; what events of real objects tell, signed here; lists for reconciling; and
disputes. What needs Stripe to fail, to be slow, to forget keys, to lag, or to have another agency's account, and what
needs its own deliveries, is tested on the double alone.
"""

from __future__ import annotations

import os
import sys

import pytest

TESTS = ("tests/jobs/gateways/test_stripe.py", "tests/jobs/gateways/test_stripe_told.py")
ON_THE_DOUBLE = (
    "Not asked of Stripe, but of the double alone: faults, time-outs and kills, keys that are forgotten, long lists, "
    "taxes, other agencies' accounts, and webhooks as Stripe delivers them (here they are signed by the test)."
)


def main() -> int:
    """Run them; the exit code."""
    key, account = os.environ.get("STRIPE_TEST_KEY"), os.environ.get("STRIPE_TEST_ACCOUNT")
    missing = [name for name, value in (("STRIPE_TEST_KEY", key), ("STRIPE_TEST_ACCOUNT", account)) if not value]
    if missing:
        print(
            f"{' and '.join(missing)} not set: nothing was asked of Stripe. Set STRIPE_TEST_KEY to a platform's test "
            "key (sk_test_...) and STRIPE_TEST_ACCOUNT to a connected test account (acct_...). make test runs the same "
            "tests on the double of tests/stripe_double."
        )
        return 0
    if "_test_" not in str(key):
        print("STRIPE_TEST_KEY is no test key: these tests make invoices and charge cards", file=sys.stderr)
        return 2
    print(ON_THE_DOUBLE)
    return int(pytest.main([*TESTS, "-v"]))


if __name__ == "__main__":
    sys.exit(main())
