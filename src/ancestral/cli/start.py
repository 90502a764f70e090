"""The console script: what happens before the commands are imported, which takes a while."""

import signal


def start() -> None:
    """Import the commands and run one.

    While they are imported Ctrl-C ends the process at once, as it ends a program that does not
    handle it, and no traceback is shown.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ancestral.cli.main import main

    signal.signal(signal.SIGINT, handler)
    main()
