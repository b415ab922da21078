"""Names of the topics (without the prefix of the settings) and of the headers we write."""

ACCOUNT_EVENTS = "account-events"
CATALOGUE = "catalogue"
RATED_CALLS = "rated-calls"
SEEN_CALLS = "seen-calls"
PAYMENT_REQUESTS = "payment-requests"
BILLING_EVENTS = "billing-events"
ALERTS = "alerts"
DUPLICATES = "duplicates"
DEAD_LETTERS = "dead-letters"
ACCESS_EVENTS = "access-events"
LEDGER = "ledger"

# On a record that was written to a wrong partition and passed on: "<partition>:<offset>" it came from.
FORWARDED_HEADER = "callmeter-forwarded"
