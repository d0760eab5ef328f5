"""The command line, ``shape3d-amodal <command>``; ``dispatch.py`` has the commands, and says how one is written.

Exit status: 0 done, 2 usage, otherwise the error's own (3 bad data, 4 a missing backend, 1 the rest, such as a
standard output that cannot be written), 130 interrupted, 141 nobody reads the output any more, 143 terminated.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from shape3d_amodal.cli.shared.stopping import leave_at_signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    Args:
        arguments: by default the process's own; then SIGTERM ends the command as Ctrl-C does.
    """
    if arguments is None:
        leave_at_signals()
    from shape3d_amodal.cli.dispatch import run  # it imports all commands, which takes time to press Ctrl-C in

    return run(list(sys.argv[1:] if arguments is None else arguments))
