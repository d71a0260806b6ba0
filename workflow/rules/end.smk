# The end of a run: what to open, what was skipped and how to get it, how long it took; whole errors.
import time

from snakemake.logging import DefaultFormatter, logger
from snakemake_interface_logger_plugins.common import LogEvent

STARTED = time.monotonic()


def to_open():
    """What there is to look at, of what this run was asked for."""
    asked = {str(path) for job in workflow.dag.jobs for path in job.output}
    places = {
        "the paper": [PAPER],
        "notebooks": ALL_NOTEBOOKS,
        "all features": [f"{path}/index.html" for path in BROWSERS],
        "figures": [f"figures/{study}/" for study in STUDIES],
        "one row a layer": [path for path in SUMMARIES if path.endswith(".tsv")],
    }
    for what, paths in places.items():
        made = [
            path for path in paths if any(one.startswith(path) or path.startswith(f"{one}/") for one in asked)
        ]
        if made:
            yield f"  {what}: {', '.join(made)}"


def ending(seconds):
    """The lines that a run ends with."""
    minutes, seconds = divmod(round(seconds), 60)
    yield (
        f"Built in {minutes} min {seconds} s. To open:"
        if (found := list(to_open()))
        else f"Done in {minutes} min {seconds} s."
    )
    yield from found
    if SKIPPED:
        yield "Left out:"
        yield from (f"  {plain.line(line)}" for line in SKIPPED)


onsuccess:
    logger.info("\n".join(ending(time.monotonic() - STARTED)))


def show_whole(record):
    """What the logger with a progress bar (profiles/default) needs to show errors whole; a filter that passes all."""
    event = getattr(record, "event", None)
    if event == LogEvent.JOB_ERROR:
        # It reads the log of every job of a group that failed, begun or not.
        for path in map(Path, record.log):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("The job ended before it began its log.\n")
    if event == LogEvent.GROUP_ERROR:
        # It passes over groups: what the cluster said of the submission, and where the cluster's log is.
        print(DefaultFormatter().format(record), file=sys.stderr)
    return True


if workflow.is_main_process and workflow.output_settings.log_handler_settings:
    logger.addFilter(show_whole)
