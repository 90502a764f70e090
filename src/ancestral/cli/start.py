"""The console script: it runs before the commands are imported, which takes a moment."""

import signal


def start() -> None:
    """Import the commands and run one.

    While they are imported, Ctrl-C ends the process immediately and without a traceback.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ancestral.cli.main import main

    signal.signal(signal.SIGINT, handler)
    main()
