"""``python -m tests.golden``: write the golden files anew, from the story and from what the code does now."""

from __future__ import annotations

from tests.golden import LOG, OUTPUTS, outputs_of, read_log, states, written_log
from tests.golden.test_golden import first_differences


def main() -> None:
    """Write the log, its outputs and the states of today's versions, and tell which outputs are new."""
    LOG.write_bytes(written_log())
    before = OUTPUTS.read_bytes().split(b"\n")[:-1] if OUTPUTS.exists() else []
    lines = read_log()
    after = outputs_of(lines)
    OUTPUTS.write_bytes(b"".join(line + b"\n" for line in after))
    states.write()
    print(f"{len(lines)} records, {len(after)} outputs")
    print(first_differences(before, after) or "nothing has changed")


if __name__ == "__main__":
    main()
