"""Choose how to train: what fits into the device's memory decides."""

import math

import numpy as np

from skintricate.exceptions import DeviceMemoryError
from skintricate.training import resident, split
from skintricate.training.network import walk
from skintricate.training.on_device import ResidentTrainer
from skintricate.training.plan import WHOLE, Share
from skintricate.training.plans import lower
from skintricate.training.sparse import Entries, n_entries_of, stays_sparse
from skintricate.training.streamed import StreamedTrainer
from skintricate.training.vocabulary import program_for

REMEDY = "Lower batch_size or the layers' units, or choose a device with more memory."


def require_parameters(device, dtype, network, shapes, optimizer):
    """Raise ``DeviceMemoryError`` where a network is too large, before its first values are drawn."""
    nodes = walk(network, shapes[0])
    count = sum(math.prod(p.shape) for node in nodes for p in node.layer.parameters(node.input_shape))
    n_bytes = count * (1 + len(optimizer.states)) * np.dtype(dtype).itemsize
    device.budget.require_buffer(n_bytes, "The network with its optimizer's state", "Lower the layers' units.")


def lower_training(network, data, program, options, validation, is_sparse=False, share=WHOLE):
    """Return the plan of training a network, its score on validation data included where they are given."""
    return lower(
        network,
        data.n_features,
        share.size(options.batch_rows(data)),
        program,
        loss=options.loss,
        optimizer=options.optimizer,
        alpha=options.alpha,
        scored=None if validation is None else validation.scored_rows,
        is_sparse=is_sparse,
        share=share,
    )


def _program_of_training(device, dtype, network, data, options, is_sparse=False, share=WHOLE):
    """Return the program that trains a network on a device."""
    return program_for(
        device,
        dtype,
        network,
        options.loss,
        options.optimizer,
        options.precision,
        batch_size=share.size(options.batch_rows(data)),
        is_sparse=is_sparse,
    )


def devices_of_training(devices, dtype, network, data, options):
    """Return which of some devices train a network: those equal to the first where sharing it pays, else the first.

    A network can be shared whose samples meet nowhere but in the gradients of its weights, and where each device has
    memory for all data.
    """
    first = devices[0]
    equal = [d for d in devices if (d.info.name, d.info.runtime) == (first.info.name, first.info.runtime)]
    if len(equal) == 1 or options.batch_rows(data) < len(equal) or stays_sparse(network, data.X):
        return devices[:1]
    program = _program_of_training(first, dtype, network, data, options)
    try:
        plan, itemsize = lower_training(network, data, program, options, None), np.dtype(dtype).itemsize
        if not split.can_be_split(plan) or not split.pays(plan, options.precision, itemsize, len(equal)):
            return devices[:1]
        share = Share(0, len(equal))
        program = _program_of_training(first, dtype, network, data, options, share=share)
        plan = lower_training(network, data, program, options, None, share=share)
        steps = _steps_that_fit(first.budget, plan, data, program.tile, None, options, np.dtype(dtype), False)
    except DeviceMemoryError:
        return devices[:1]
    return equal if steps * plan.batch_size >= len(data) else devices[:1]


def _make_split_trainer(devices, dtype, network, state, data, options):
    """Return the trainer that shares a network among several devices."""
    programs, plans = [], []
    for number, device in enumerate(devices):
        share = Share(number, len(devices))
        programs.append(_program_of_training(device, dtype, network, data, options, share=share))
        plans.append(lower_training(network, data, programs[-1], options, None, share=share))
    return split.SplitTrainer(devices, dtype, programs, plans, state, data, options)


def make_trainer(device, dtype, network, state, data, options):
    """Return the trainer that fits the device's memory budget, or that of several devices if the options name them.

    Raises
    ------
    DeviceMemoryError
        If not even one batch fits, with the numbers.
    """
    if len(options.devices) > 1:
        return _make_split_trainer(options.devices, dtype, network, state, data, options)
    # Where validation rows do not fit beside the data, the host scores them; where entries do not, rows are streamed.
    scored = _scored_on_device(options)
    for is_sparse in (True, False) if stays_sparse(network, data.X) else (False,):
        program = _program_of_training(device, dtype, network, data, options, is_sparse)
        for validation in (None,) if scored is None else (scored, None):
            try:
                plan = lower_training(network, data, program, options, validation, is_sparse)
                steps = _steps_that_fit(
                    device.budget, plan, data, program.tile, validation, options, np.dtype(dtype), is_sparse
                )
            except DeviceMemoryError:
                if validation is None and not is_sparse:
                    raise
                continue
            if validation is not None and not resident.suits(device, plan, program.tile.family):
                continue
            arguments = (device, dtype, program, plan, state, data, options)
            if steps * plan.batch_size >= len(data):
                parts = [data] if validation is None else [data, validation.data]
                entries = Entries([part.X for part in parts], dtype) if is_sparse else None
                return ResidentTrainer(*arguments, validation, entries)
    return StreamedTrainer(*arguments, slice_steps=steps)


def _steps_that_fit(budget, plan, data, tile, validation, options, dtype, is_sparse):
    """Return for how many steps the data, and what is kept of each step, fit on the device, at least one."""
    size, batch_size, x_columns = dtype.itemsize, plan.batch_size, tile.x_columns(data.n_features)
    if is_sparse:  # an entry is a number and its column, of four bytes
        n_entries, n_rows = n_entries_of([data.X] if validation is None else [data.X, validation.data.X])
        x_columns = math.ceil(n_entries / n_rows * (1 + 4 / size)) + 1
        if n_entries + 3 * n_rows >= 2**31:
            raise DeviceMemoryError(f"X has {n_entries} entries, more than the kernels can count.")
    columns = max(x_columns, data.Y.shape[1])
    n_validation = 0 if validation is None else len(validation.data)
    batch_bytes = batch_size * data.bytes_per_row(dtype, x_columns)
    for n_bytes, what in (
        (plan.parameter_size * size, "The network with its optimizer's state"),
        (plan.workspace_size * size, f"The activations and gradients of a batch of {batch_size} samples"),
        (batch_bytes, f"A batch of {batch_size} samples of {data.n_features} features"),
    ):
        budget.require_buffer(n_bytes, what, REMEDY)
    # Parameters twice for the best ones; losses, scalars and history grow with the steps.
    fixed = (2 * plan.parameter_size + plan.workspace_size) * size
    fixed += n_validation * (data.bytes_per_row(dtype, x_columns) + 2 * size)
    if n_validation and validation.data.sample_weight is not None and data.sample_weight is None:
        batch_bytes += batch_size * size  # then the rows trained on have weights too
    step_bytes = batch_bytes + (plan.partials + 3 + len(options.optimizer.scalar_names)) * size
    budget.require(fixed + step_bytes, f"The network with one batch of {batch_size} samples", REMEDY)
    in_one_buffer = (budget.largest - n_validation * columns * size) // (
        max(batch_size * columns, plan.partials + 1) * size
    )
    numbered = (2**31 - 1) // (plan.partials + 1)  # losses, by an int of the kernels
    return max(1, min((budget.total - fixed) // step_bytes, in_one_buffer, numbered))


def _scored_on_device(options):
    """Return the validation data whose score the device can count by itself, or None."""
    validation = options.validation
    return validation if validation is not None and validation.linear_terms is not None else None
