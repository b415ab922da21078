"""This machine: is there room, and are the indexes of rated calls that live here whole?"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from jobs.doctor.finding import Finding, failed, ok, warning
from streams.generations import about_of
from streams.seen_calls import ABOUT
from streams.settings import Settings
from streams.topics import SEEN_CALLS

GIB = 1 << 30
ROOM_WARNING = 5 * GIB
ROOM_FAILED = GIB // 2


def look_at_disk(settings: Settings) -> Iterator[Finding]:
    """Room in the data folder."""
    folder = settings.folder
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    detail = f"{usage.free / GIB:,.1f} of {usage.total / GIB:,.1f} GiB are free at {settings.folder}"
    advice = "make room, or set CALLMETER_DATA_FOLDER to another disk"
    if usage.free < ROOM_FAILED:
        yield failed("disk", detail, advice)
    elif usage.free < ROOM_WARNING:
        yield warning("disk", detail, advice)
    else:
        yield ok("disk", detail)


def look_at_indexes(settings: Settings) -> Iterator[Finding]:
    """The indexes of rated calls of this data folder, read without a lock: a meter may run on them."""
    folder = settings.folder / "seen-calls" / settings.topic(SEEN_CALLS)
    indexes = sorted((one for one in folder.glob("*") if one.name.isdigit()), key=lambda one: int(one.name))
    broken = 0
    for index in indexes:
        if problem := _problem(index):
            broken += 1
            yield warning(
                "index of rated calls",
                f"{index} cannot be read: {problem}",
                "the meter builds it anew from seen-calls when it starts, which takes a while; look after the disk",
            )
    if not indexes:
        yield ok("index of rated calls", f"none on this machine ({folder}); a meter that starts here builds it")
    elif not broken:
        yield ok("index of rated calls", f"of {len(indexes)} partitions on this machine, all can be read")


def _problem(index: Path) -> str | None:
    for last in (False, True):
        try:
            about = about_of(index)
            if about is not None:
                ABOUT.upgraded(about)
            return None
        except Exception as error:
            # A meter that runs may have taken files away in between.
            if last:
                return str(error).splitlines()[0]
    return None
