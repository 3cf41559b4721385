"""The end of a step: the gradients of all weights, and the optimizer's update of each."""

from dataclasses import dataclass


@dataclass
class _Update:
    """The update of some weights: by a product of a layer's input with its gradient, or by sums made already."""

    weights: object
    fields: dict
    l1: float
    l2: float
    is_penalized: bool = True
    source: int = -1
    parts: int = 1

    @property
    def has_sums(self):
        """Whether the gradient is made already, as so many sums at ``source``."""
        return self.source >= 0


class WeightUpdates:
    """Emits the stages that come after the backward pass, for all weights together.

    Where a batch is cut into ``parts``, each part's sum is stored, and the sums are added in their order: what a
    core reads for its part is what it has just written. Otherwise the sum stays in registers until the update.

    Parameters
    ----------
    lowering : Lowering
    optimizer : Optimizer
    alpha : float
    """

    def __init__(self, lowering, optimizer, alpha):
        self._lowering, self._optimizer, self._alpha = lowering, optimizer, alpha
        self._wanted = []

    def add(self, weights, l1, l2, **fields):
        """Ask for the gradient and update of a layer's weights."""
        self._wanted.append(_Update(weights, fields, l1, l2))

    def add_sums(self, weights, source, parts, l1, l2, is_penalized):
        """Ask for the update of weights by sums of gradients, so many one after another from ``source``."""
        fields = {"inputs": weights.inputs, "outputs": weights.columns, "bias": weights.has_bias}
        self._wanted.append(_Update(weights, fields, l1, l2, is_penalized, source, parts))

    def emit(self, parts):
        """Emit gradients and updates, with the batch cut into at most so many parts."""
        if not self._wanted:
            return
        lowering, clip = self._lowering, self._optimizer.clip_norm
        self._cut_into_parts(parts if self._parts_pay(parts) else 1)
        n_tiles = sum(self._tiles(update) for update in self._wanted)
        norms = lowering.reserve(n_tiles + 1) if clip is not None else -1
        stages = self._stages(norms)
        sums = [stage for update, stage in zip(self._wanted, stages) for stage in self._sums(update, stage)]
        sums.sort(key=lambda stage: stage.get("rows_begin", 0))  # what has the same rows together, for one core
        for kernel in ("dense_backward_weights", "convolution_backward_weights"):
            lowering.launch_many(kernel, [stage for stage in sums if _product(stage) == kernel])
        of_kernel = {"dense_backward_weights": [], "dense_add_parts": []}
        for update, stage in zip(self._wanted, stages):
            of_kernel[_kernel(update)].append(stage)
        for kernel, stages_of_kernel in of_kernel.items():
            lowering.launch_many(kernel, stages_of_kernel)
        if clip is not None:
            self._emit_clipped(stages, norms, n_tiles)

    def _parts_pay(self, parts):
        """Say whether the sums of all parts are fewer numbers than what they are sums of."""
        products = [update for update in self._wanted if not update.has_sums]
        sums = parts * sum(self._lowering.size(update.weights) for update in products)
        read = 0
        for update in products:
            window, weights = update.fields.get("window"), update.weights
            if window is None:
                read += weights.inputs + weights.columns
            else:
                read += window.height * window.width * weights.channels
                read += window.out_height * window.out_width * weights.columns
        return sums < self._lowering.plan.batch_size * read

    def _cut_into_parts(self, parts):
        """Decide into how many parts each product is cut."""
        for update in self._wanted:
            if not update.has_sums:
                update.parts = self._lowering.parts_of_product(parts, **update.fields)

    def _tiles(self, update):
        """Return the tiles of the stage that ends in an update."""
        return self._lowering.cut(_kernel(update), **update.fields)["tiles"]

    def _stages(self, norms):
        """Return the stages that end in an update, or where gradients are clipped in stored gradients."""
        lowering, optimizer, plan = self._lowering, self._optimizer, self._lowering.plan
        code, stages = lowering.code("optimizers", optimizer), []
        for update in self._wanted:
            weights, tiles = update.weights, self._tiles(update)
            penalty = (self._alpha + update.l2, update.l1) if update.is_penalized else (0.0, 0.0)
            stage = {
                "weights": weights.offset,
                "transposed": weights.transposed,
                "channels": weights.channels,
                "code": code,
                "constants": lowering.constant(*penalty),
                "value": norms,
                "rows_end": plan.batch_size,
                **update.fields,
            }
            if optimizer.clip_norm is not None:
                norms += tiles
                stage["target"] = lowering.reserve(lowering.size(weights))
            if any(penalty):
                stage["losses"] = plan.partials
                plan.partials += 2 * tiles
            if _kernel(update) == "dense_add_parts":
                stride = lowering.size(weights)
                source = update.source if update.has_sums else lowering.reserve(update.parts * stride)
                stage.update(source=source, parts=update.parts, part_stride=stride, window=None)
            stages.append(stage)
        return stages

    def _sums(self, update, added):
        """Return the stages of the sums of every part, which ``added`` adds up; none where there is one part."""
        if update.has_sums or _kernel(update) == "dense_backward_weights":
            return []
        lowering, parts, stages = self._lowering, update.parts, []
        if update.fields.get("window") is not None:  # its tiles are those of all parts
            return [{**added, **update.fields, "target": added["source"], "losses": -1}]
        for part in range(parts):
            begin, end = (lowering.rows_before(k, parts) for k in (part, part + 1))
            place = {"target": added["source"] + part * added["part_stride"], "rows_begin": begin, "rows_end": end}
            stages.append({**added, **update.fields, **place, "losses": -1})
        return stages

    def _emit_clipped(self, stages, norms, n_norms):
        """Emit the clipping factor and the updates from stored gradients."""
        lowering, factor = self._lowering, norms + n_norms
        limit = lowering.constant(self._optimizer.clip_norm)
        lowering.launch("clip_factor", inputs=n_norms, source=norms, target=factor, constants=limit)
        updates = [{**stage, "source": stage["target"], "value": factor, "window": None} for stage in stages]
        lowering.launch_many("dense_update", updates)


def _kernel(update):
    """Return the kernel of the stage that ends in an update; convolutions store their sums always."""
    is_product = not update.has_sums and update.parts == 1 and update.fields.get("window") is None
    return "dense_backward_weights" if is_product else "dense_add_parts"


def _product(stage):
    """Return the kernel of a stage that makes sums."""
    return "dense_backward_weights" if stage["window"] is None else "convolution_backward_weights"
