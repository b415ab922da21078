"""Bills worked out by hand, one module an item of "Everything a plan can say".

Each module has ``FACTS`` (a log), ``CARDS`` if terms name any, and ``BILLS``: the payment requests that the log calls
for, in order, as (kind, lines, total); a line is (kind, quantity, unit price, amount). The arithmetic is in comments.
"""
