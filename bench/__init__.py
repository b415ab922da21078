"""Every figure that the README claims, measured here: ``python -m bench [NAME]``, or ``make bench NAME=hot_path``.

One file a figure. What is compared runs in turns, in one run, on one broker; every run is kept in ``results/``.
"""
