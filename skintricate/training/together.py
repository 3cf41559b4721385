"""Many networks at once: trained in the same launches, and asked for predictions in the same launches."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from skintricate.backend.launch import device_errors
from skintricate.exceptions import DeviceMemoryError
from skintricate.training import resident
from skintricate.training.cohort import Cohort
from skintricate.training.interrupts import Interrupts
from skintricate.training.members import PredictingMember, TrainedMember
from skintricate.training.rendezvous import Rendezvous
from skintricate.training.requests import FitRequest, PredictRequest
from skintricate.training.shared_rows import SharedRows
from skintricate.training.vocabulary import program_for

# Of the largest buffer, that rows of X may take; beyond it those of earlier requests are given up.
SHARE_OF_ROWS = 0.5

log = logging.getLogger("skintricate")


class Together:
    """Trains many networks, and predicts with many; keeps on the device what they share from call to call."""

    def __init__(self):
        self._rows = {}

    def serve(self, requests):
        """Return the outcomes of requests of both kinds; see ``fit`` and ``predict``."""
        outcomes = [None] * len(requests)
        for kind, run in ((FitRequest, self.fit), (PredictRequest, self.predict)):
            numbers = [number for number, request in enumerate(requests) if isinstance(request, kind)]
            for number, outcome in zip(numbers, run([requests[number] for number in numbers])):
                outcomes[number] = outcome
        return outcomes

    def fit(self, requests):
        """Train networks.

        Parameters
        ----------
        requests : list of FitRequest

        Returns
        -------
        outcomes : list
            For each request a trainer whose epochs are done, an exception, or None where it cannot share launches.
        """
        return self._run(requests, self._member_to_train, _train, "trains")

    def predict(self, requests):
        """Predict.

        Parameters
        ----------
        requests : list of PredictRequest

        Returns
        -------
        outcomes : list
            For each request an ndarray of outputs, an exception, or None where it cannot share launches.
        """
        outcomes = self._run(requests, self._member_to_predict, _predict, "predicts")
        return [m.outputs if isinstance(m, PredictingMember) else m for m in outcomes]

    def _run(self, requests, make_member, run, does):
        """Make the members, let those that can share launches run, and return the outcome of every request."""
        outcomes, lots, kinds = [None] * len(requests), {}, {}
        for request in requests:
            kinds.setdefault(_kind(request), []).append(request.batch_size)
        crowds = {kind: Crowd(len(batch_sizes), max(batch_sizes)) for kind, batch_sizes in kinds.items()}
        for number, request in enumerate(requests):
            try:
                with device_errors(request.device):
                    program, member = make_member(request, crowds[_kind(request)])
            except (_Apart, DeviceMemoryError) as reason:
                log.info("A network %s by itself: %s.", does, reason)
            except Exception as error:
                outcomes[number] = error
            else:
                lots.setdefault((*_kind(request), program), []).append((number, member))
        for rows in self._rows.values():
            rows.forget_matrices()
        with Interrupts() as interrupts:
            _on_all_devices(lots, lambda key, lot: self._run_lot(key, lot, run, outcomes, interrupts))
            if interrupts.pressed:
                raise KeyboardInterrupt
        return outcomes

    def _run_lot(self, key, lot, run, outcomes, interrupts):
        """Run members that are alike in device, program, float type and features, as many at once as fit."""
        device, dtype, n_features, program = key
        if not are_worth_a_launch(device, len(lot)):
            log.info("%d networks run one by one: fewer than the device has cores.", len(lot))
            return
        try:
            rows = self._rows_of(device, program, dtype, n_features, lot)
            if rows is None:
                log.info("%d networks run one by one: their rows do not fit into the device's memory.", len(lot))
                return
            for some in self._that_fit(device, rows, lot):
                with device_errors(device):
                    cohort = Cohort(device, program, dtype, rows, [member for _, member in some])
                    try:
                        run(cohort, interrupts)
                    finally:
                        cohort.end()
                for number, member in some:
                    outcomes[number] = member
        except Exception as error:
            # What is on the device may be gone. Each has an exception of its own: they are raised in many threads.
            self._rows.clear()
            for number, _ in lot:
                if outcomes[number] is None:
                    outcomes[number] = type(error)(*error.args)

    def _rows_of(self, device, program, dtype, n_features, lot):
        """Return the rows that all members share, with those of earlier ones where there is room, or None."""
        key, most = (device, np.dtype(dtype), n_features), SHARE_OF_ROWS * device.budget.largest
        for is_new in (key not in self._rows, True):
            if is_new:
                self._rows[key] = SharedRows(device, dtype, n_features, program.tile.x_columns(n_features))
            for _, member in lot:
                for X in member.matrices:
                    self._rows[key].places(X)
            if self._rows[key].n_bytes <= most:
                return self._rows[key]
        del self._rows[key]
        return None

    def _that_fit(self, device, rows, lot):
        """Yield the members that fit into the device's memory together; what does not fit at all is left."""
        budget, n_bytes, some = device.budget, 0, []
        room = min(budget.total - rows.n_bytes, budget.largest)
        for number, member in lot:
            if member.n_bytes > room:
                log.info("A network runs by itself: it needs %d bytes, and %d are left.", member.n_bytes, room)
                continue
            if n_bytes + member.n_bytes > room:
                yield some
                n_bytes, some = 0, []
            some.append((number, member))
            n_bytes += member.n_bytes
        if some:
            yield some

    def _member_to_train(self, request, crowd):
        """Return the program and the member of a request, or raise ``_Apart``."""
        options, data = request.options, request.data
        if options.callbacks or options.metrics:
            raise _Apart("callbacks or metrics look at it after every epoch")
        if options.validation is not None and options.validation.linear_terms is None:
            raise _Apart("its validation score is counted by the host")
        if options.halting_condition is not None and not options.halting_on_device(data, request.dtype):
            raise _Apart("its halting condition is asked by the host")
        for part in (data, options.validation and options.validation.data):
            if part is not None:
                _require_dense(part.X)
        program = program_for(
            request.device,
            request.dtype,
            request.network,
            options.loss,
            options.optimizer,
            options.precision,
            n_networks=crowd.n_networks,
            batch_size=crowd.batch_size,
        )
        return program, _that_suits(request, program, TrainedMember(request, program))

    def _member_to_predict(self, request, _):
        """Return the program and the member of a request, or raise ``_Apart``."""
        _require_dense(request.X)
        program = program_for(request.device, request.dtype, request.network, precision=request.precision)
        return program, _that_suits(request, program, PredictingMember(request, program))


def run_together(functions):
    """Call functions without arguments and return their results; the networks inside are trained together."""
    return Rendezvous(Together().serve).run(functions)


def are_worth_a_launch(device, n_networks):
    """Say whether so many networks fill a device: on a CPU each has one core."""
    return not device.is_cpu or n_networks >= device.handle.max_compute_units


def _on_all_devices(lots, run_lot):
    """Run lots whose keys begin with a device, those of different devices at once."""
    by_device = {}
    for key, lot in lots.items():
        by_device.setdefault(key[0], []).append((key, lot))

    def run_device(some):
        for key, lot in some:
            run_lot(key, lot)

    if len(by_device) == 1:
        run_device(*by_device.values())
    elif by_device:
        with ThreadPoolExecutor(len(by_device)) as threads:
            for future in [threads.submit(run_device, some) for some in by_device.values()]:
                future.result()


class _Apart(Exception):
    """Why a network cannot share launches."""


class Crowd(NamedTuple):
    """How many networks of a kind there are, and the most rows of their batches."""

    n_networks: int
    batch_size: int


def _kind(request):
    """Return what networks have in common that can share launches, but for what their programs know."""
    X = request.data.X if isinstance(request, FitRequest) else request.X
    return request.device, request.dtype, X.shape[1]


def _require_dense(X):
    """Raise ``_Apart`` for a sparse matrix."""
    if not isinstance(X, np.ndarray):
        raise _Apart("X is sparse")


def _that_suits(request, program, member):
    """Return the member, or raise ``_Apart`` where a launch cannot take its plan."""
    if not resident.suits(request.device, member.plan, program.tile.family):
        raise _Apart("its products are large enough for launches of their own, or its layers are too many")
    return member


def _train(cohort, interrupts):
    """Train the members of a cohort to their ends."""
    cohort.begin()
    pool = cohort.pool
    while active := [member for member in cohort.members if member.goes_on]:
        scalars, runs = zip(*(member.begin_run() for member in active))
        pool.write("scalars", scalars)
        pool.write("run", runs)
        cohort.take_steps(interrupts)
        history = pool.read("history")
        for member in active:
            member.end_run(history)
    parameters = pool.read("parameters")
    for member in cohort.members:
        member.end(parameters)


def _predict(cohort, interrupts):
    """Let the members of a cohort predict all their rows."""
    cohort.begin()
    cohort.take_steps(interrupts)
