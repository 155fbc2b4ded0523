"""Jobs from an archive into the stack: a site's own data, or what an unclean end of the emulator lost."""

from __future__ import annotations

import time
from pathlib import Path

from clustercockpit.archive import importer
from clustercockpit.archive.importer import ImportReport
from clustercockpit.archive.job_archive import ObjectJobArchive
from clustercockpit.errors import ClusterCockpitError
from clustercockpit.site import Site
from clustercockpit.storage.directory import DirectoryObjectStore
from local_stack.console import LocalStackError, progress, progress_done, say

SAY_EVERY_SECONDS = 10.0
ERRORS_SHOWN = 5


def in_folder(folder: Path) -> ObjectJobArchive:
    return ObjectJobArchive(DirectoryObjectStore(folder))


def load(site: Site, source: ObjectJobArchive, days: int | None) -> None:
    """With progress: a moving line on a terminal, a line every ten seconds elsewhere.

    Raises LocalStackError where the source is no archive.
    """
    began = said = time.monotonic()

    def show(report: ImportReport) -> None:
        nonlocal said
        seconds = time.monotonic() - began
        text = (
            f"{report.done:,} of {report.total:,} jobs, {report.done / max(seconds, 0.001):,.0f} per second"
        )
        progress(text)
        if time.monotonic() - said > SAY_EVERY_SECONDS:
            said = time.monotonic()
            say(text)

    try:
        report = importer.run(site, source, days=days, progress=show)
    except ClusterCockpitError as error:
        raise LocalStackError(f"the archive cannot be loaded: {error}") from None
    progress_done()
    say(
        f"clusters {', '.join(report.clusters) or 'none'}: {report.imported:,} jobs loaded, "
        f"{report.present:,} were there, {report.failed:,} are damaged"
    )
    for what in report.errors[:ERRORS_SHOWN]:
        say(f"  {what}")
    if len(report.errors) > ERRORS_SHOWN:
        say(f"  and {report.failed - ERRORS_SHOWN:,} more")
