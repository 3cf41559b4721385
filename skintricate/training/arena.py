"""The buffers of a plan on a device, and its kernels bound to them."""

import weakref

import numpy as np

from skintricate.backend.launch import Launcher
from skintricate.kernels import RUN
from skintricate.kernels.stage import ROW_KERNELS
from skintricate.training.data import TAIL

# Kernels that take one stage; others take several that are independent, or follow each other.
KERNELS_OF_ONE_STAGE = (*ROW_KERNELS, "clip_factor")


class Arena:
    """Everything that the stages of a plan read and write.

    Parameters
    ----------
    device : Device
    program : Program
    plan : Plan
    dtype : {"float32", "float64"}
    data : dict of str to pyopencl.Buffer
        ``X``, and for training ``Y``, ``sample_weight`` and ``order``.
    parameters : pyopencl.Buffer, default=None
        Shared parameters; None allocates them.
    losses, scalars, history : int
        Sizes of those buffers, in scalars.
    constants : ndarray, default=None
        The hyper-parameters of all stages, and what follows them; None takes the plan's.
    """

    def __init__(
        self, device, program, plan, dtype, data, parameters=None, losses=1, scalars=1, history=1, constants=None
    ):
        self.device, self.program, self.plan = device, program, plan
        self.dtype = np.dtype(dtype)
        self._borrowed = []
        weakref.finalize(self, program.give_back, self._borrowed).atexit = False
        size = self.dtype.itemsize
        self.parameters = device.buffer(plan.parameter_size * size) if parameters is None else parameters
        self.workspace = self._zeros((plan.workspace_size + TAIL) * size)
        self.scalars = device.buffer(scalars * size)
        self.losses = self._zeros(losses * size)
        self.history = self._zeros(history * size)
        self.control = self._zeros(4 * 4)
        self._run = device.buffer(2 * RUN.itemsize)
        if constants is None:
            constants = plan.constants_with((), self.dtype)
        self._constants = device.buffer_of(constants)
        self._stages = device.buffer_of(plan.stages)
        unused = self._constants
        self._arguments = (
            self.parameters,
            self.workspace,
            data["X"],
            data.get("Y", unused),
            data.get("sample_weight", unused),
            data.get("order", unused),
            self.scalars,
            self._constants,
            self.losses,
            self.history,
            self.control,
            self._run,
            self._stages,
        )

    def launcher(self, name, groups, *numbers, buffers=(), first_group=0, plan=None):
        """Return a kernel of the program bound to these buffers, further ones, and its int arguments ``numbers``.

        With ``plan`` it is that of the plan's own program.
        """
        kernel = self.program.borrow(name, plan)
        self._borrowed.append((kernel, name, plan))
        for index, argument in enumerate((*self._arguments, *buffers, *map(np.int32, numbers))):
            kernel.set_arg(index, argument)
        return Launcher(self.device, kernel, groups, first_group)

    def step_launchers(self):
        """Return the launchers of one step, in order."""
        return [self.launcher_of(launch) for launch in self.plan.launches]

    def launcher_of(self, launch, tiles=None):
        """Return the launcher of a launch of the plan, or of a slice of its tiles where the kernel allows it."""
        numbers = [launch.first]
        if launch.kernel not in KERNELS_OF_ONE_STAGE:
            numbers.append(launch.end)
        tiles = tiles or slice(0, launch.tiles)
        return self.launcher(launch.kernel, tiles.stop - tiles.start, *numbers, first_group=tiles.start)

    def write_runs(self, runs):
        """Set what stays the same during a run of steps, of the rows trained on and of those of validation."""
        self.device.write(self._run, runs)

    def write_run_number(self, step):
        """Set the number of steps trained before the run."""
        number = np.array([step & 0x7FFFFFFF], np.int32)
        self.device.write(self._run, number, offset=RUN.fields["first_step"][1])

    def _zeros(self, n_bytes):
        """Return a new buffer of zeros."""
        return self.device.zeros(n_bytes)
