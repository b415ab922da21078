"""Breaking the running pipeline in every way that production will, and proving that nothing came of it.

``python -m tests.faults`` (``make faults``); see ``docs/reliability.md``.
"""
