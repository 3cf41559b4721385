"""What can watch a fit: a line an epoch, a progress bar, a live plot, the user's own."""

import math
import sys

from skintricate.configurable import Configurable, check_number


class Callback(Configurable):
    """Base class; a subclass overrides what it needs.

    Attributes
    ----------
    synchronous : bool
        Whether training waits after each epoch for the callback, which may then read the weights and
        end training. Others get their epochs a little later, several at a time.
    """

    synchronous = True

    def on_fit_begin(self, max_iter):
        """Training of at most ``max_iter`` epochs begins."""

    def on_epoch_begin(self):
        """An epoch begins; told where training waits after each epoch."""

    def on_step_end(self, number, loss, accuracy):
        """A step ended; reported when its epoch has ended."""

    def on_epoch_end(self, epoch, weights):
        """An epoch ended.

        Parameters
        ----------
        epoch : Epoch
        weights : callable
            Returns the ``NetworkState`` as of now; only inside a synchronous callback.

        Returns
        -------
        stop : bool or None
            True ends training.
        """

    def on_fit_end(self, history):
        """Training ended, however it did."""


class ProgressLine(Callback):
    """Prints a line every so many epochs: ``epoch 3/200  loss 0.412  accuracy 0.871  1.3 s``.

    Parameters
    ----------
    every : int, default=1
    """

    synchronous = False

    def __init__(self, every=1):
        check_number(self, "every", every, 1, integer=True)
        self.every = every

    def on_fit_begin(self, max_iter):
        self._max_iter = max_iter

    def on_epoch_end(self, epoch, weights):
        if epoch.number % self.every == 0:
            print(f"epoch {epoch.number}/{self._max_iter}  {describe(epoch)}  {epoch.elapsed:.2f} s")

    def on_fit_end(self, history):
        if history.stopped_by != "max_iter":
            print(f"stopped after {len(history)} epochs: {history.stopped_by}")


class ProgressBar(Callback):
    """A progress bar with loss, accuracy and elapsed time; by tqdm or, without it, by rich.

    Raises
    ------
    ImportError
        At the start of a fit, if neither is installed.
    """

    synchronous = False

    def on_fit_begin(self, max_iter):
        self._bar = _open_bar(max_iter)

    def on_epoch_end(self, epoch, weights):
        self._bar.advance(describe(epoch))

    def on_fit_end(self, history):
        self._bar.close()
        del self._bar


class LossPlot(Callback):
    """Draws the loss curve in the terminal while training goes on.

    Parameters
    ----------
    width, height : int, default=60, 12
        In characters.
    every : int, default=10
        Epochs from one picture to the next.
    """

    synchronous = False

    def __init__(self, width=60, height=12, every=10):
        for name, value in (("width", width), ("height", height), ("every", every)):
            check_number(self, name, value, 1, integer=True)
        self.width = width
        self.height = height
        self.every = every

    def on_fit_begin(self, max_iter):
        self._losses, self._drawn = [], 0

    def on_epoch_end(self, epoch, weights):
        self._losses.append(epoch.loss)
        if epoch.number % self.every == 0:
            self._draw()

    def on_fit_end(self, history):
        if self._losses:
            self._draw()
        del self._losses, self._drawn

    def _draw(self):
        """Draw over the picture before."""
        lines = draw_curve(self._losses, self.width, self.height)
        if self._drawn and sys.stdout.isatty():
            print(f"\x1b[{self._drawn}A", end="")
        print("\n".join(lines), flush=True)
        self._drawn = len(lines)


def describe(epoch):
    """Return the numbers of an epoch as text."""
    parts = [f"loss {epoch.loss:.4g}"]
    if not math.isnan(epoch.accuracy):
        parts.append(f"accuracy {epoch.accuracy:.3f}")
    if not math.isnan(epoch.validation_score):
        parts.append(f"validation {epoch.validation_score:.4g}")
    parts += [f"{name} {value:.4g}" for name, value in epoch.metrics.items()]
    return "  ".join(parts)


def draw_curve(values, width, height):
    """Return the lines of a text plot of a curve, the latest value in its title."""
    n = len(values)
    columns = [values[k * n // min(n, width)] for k in range(min(n, width))]
    low, high = min(columns), max(columns)
    span = (high - low) or 1.0
    levels = [round((value - low) / span * (height - 1)) for value in columns]
    lines = [f"loss {values[-1]:.4g} after {n} epochs"]
    for level in reversed(range(height)):
        label = f"{low + span * level / max(height - 1, 1):10.4g} |"
        lines.append(label + "".join("*" if here == level else " " for here in levels))
    return lines


def _open_bar(total):
    """Return a progress bar with ``advance(text)`` and ``close()``."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _RichBar(total)
    return _TqdmBar(tqdm(total=total, unit="epoch"))


class _TqdmBar:
    def __init__(self, bar):
        self._bar = bar

    def advance(self, text):
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update()

    def close(self):
        self._bar.close()


class _RichBar:
    def __init__(self, total):
        try:
            from rich.progress import Progress
        except ImportError as error:
            raise ImportError("verbose=2 draws a progress bar, which needs tqdm or rich: pip install tqdm") from error
        self._progress = Progress()
        self._task = self._progress.add_task("training", total=total)
        self._progress.start()

    def advance(self, text):
        self._progress.update(self._task, advance=1, description=text)

    def close(self):
        self._progress.stop()
