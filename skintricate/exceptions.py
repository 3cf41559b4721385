"""The exceptions of skintricate; scikit-learn's own are used where it has one."""


class SkintricateError(Exception):
    """Base class of the errors that only skintricate raises."""


class DeviceError(SkintricateError, RuntimeError):
    """A device is missing, cannot be used here, or failed."""


class DeviceMemoryError(DeviceError, MemoryError):
    """A plan needs more memory than the device, or its budget, has."""


class KernelBuildError(DeviceError):
    """A program did not compile; the message holds its options and build log."""


class ShapeError(SkintricateError, ValueError):
    """Layers, data or targets whose shapes do not fit together."""


class DivergenceError(SkintricateError, ValueError):
    """Training produced a loss that is not finite."""


class ModelFileError(SkintricateError, ValueError):
    """A file is not a complete skintricate model of a known version."""


class DeviceFallbackWarning(UserWarning):
    """A model asked for a device this machine lacks and runs on another one."""


class TrainingInterruptedWarning(UserWarning):
    """Training was interrupted from the keyboard; the weights so far are kept."""


class HaltingWarning(UserWarning):
    """A halting condition ended training before ``max_iter`` epochs."""
