"""Runs the Stripe gateway's tests on Stripe's own sandbox, where there is a key for it: ``make test-stripe``."""

from __future__ import annotations

import os
import sys

import pytest


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
    return int(pytest.main(["tests/jobs/gateways/test_stripe.py", "-v"]))


if __name__ == "__main__":
    sys.exit(main())
