"""Ctrl-C during training, as a wish that is granted between epochs rather than anywhere in the code."""

import signal
import threading

# Seconds of queued work after which the host waits, so that an interrupt is served.
PATIENCE = 0.1


class Interrupts:
    """Context in which SIGINT sets ``pressed``; a second one raises KeyboardInterrupt at once.

    Outside the main thread, or where the program handles SIGINT in its own way, it changes nothing.

    Attributes
    ----------
    pressed : bool
    """

    def __init__(self):
        self.pressed = False
        self._before = None

    def __enter__(self):
        ours = threading.current_thread() is threading.main_thread()
        if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *error):
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _press(self, number, frame):
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True
