"""What holds for all tests."""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background deaf to Ctrl-C, and children inherit that; some tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
