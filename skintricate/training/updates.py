"""The end of a step: the gradients of all weights, and the optimizer's update of each."""

from dataclasses import dataclass, field

DENSE, ADD_PARTS = "dense_backward_weights", "dense_add_parts"
# Products whose sums over a batch can be cut into parts.
CUT = (DENSE, "convolution_backward_weights")


@dataclass
class _Update:
    """The update of some weights: by a product of a layer's input with its gradient, or by sums made already.

    Attributes
    ----------
    weights : Weights
    penalty : tuple of float
        ``(alpha, l1)`` of the weights, the layer's own included.
    product : str or None
        The kernel that makes the gradient; None where so many ``parts`` of it lie at ``source``, to be added up.
    fields : dict
        What the product's stages say beside the weights.
    source, parts : int
    """

    weights: object
    penalty: tuple
    product: str | None = None
    fields: dict = field(default_factory=dict)
    source: int = -1
    parts: int = 1

    @property
    def shape(self):
        """Fields that say which weights a stage is about."""
        weights = self.weights
        return {
            "inputs": weights.inputs,
            "outputs": weights.columns,
            "bias": weights.has_bias,
            "channels": weights.channels,
        }


class WeightUpdates:
    """Emits the stages that come after the backward pass, for all weights together.

    Where a batch is cut into ``parts``, each part's sum is stored, and the sums are added in their order: what a
    core reads for its part is what it has just written. Otherwise the sum stays in registers until the update, if the
    tile's products end in one.

    Parameters
    ----------
    lowering : Lowering
    optimizer : Optimizer
    alpha : float
    """

    def __init__(self, lowering, optimizer, alpha):
        self._lowering, self._optimizer, self._alpha = lowering, optimizer, alpha
        self._wanted = []

    def add(self, weights, product, l1, l2, **fields):
        """Ask for the gradient of a layer's weights, which a product makes, and their update."""
        self._wanted.append(_Update(weights, (self._alpha + l2, l1), product, fields))
        if self._lowering.share.count > 1:
            self._emit_share(self._wanted[-1])

    def add_sums(self, weights, source, parts):
        """Ask for the update of weights by sums of gradients, so many one after another from ``source``."""
        self._wanted.append(_Update(weights, (0.0, 0.0), source=source, parts=parts))

    def emit(self, parts, room):
        """Emit gradients and updates, the batch cut into at most so many parts, if there is room for as many stages."""
        if not self._wanted:
            return
        self._cut_into_parts(parts)
        lowering, clip = self._lowering, self._optimizer.clip_norm
        if not self._parts_pay() or self._n_stages() > room:
            self._cut_into_parts(1)
        n_tiles = sum(self._weight_tiles(update) for update in self._wanted)
        norms = lowering.reserve(n_tiles + 1) if clip is not None else -1
        updates = self._update_stages(norms)
        of_kernel = {}
        for update, stage in zip(self._wanted, updates):
            for kernel, fields in self._stages(update, stage):
                of_kernel.setdefault(kernel, []).append(fields)
        for kernel in sorted(of_kernel, key=lambda kernel: kernel == ADD_PARTS):
            # What has the same rows together, for one core.
            stages = sorted(of_kernel[kernel], key=lambda stage: stage.get("rows_begin", 0))
            # Of several devices, each update as soon as the sums of the others are there.
            for some in [stages] if lowering.share.count == 1 else [[stage] for stage in stages]:
                lowering.launch_many(kernel, some)
        if clip is not None:
            self._emit_clipped(updates, norms, n_tiles)

    def _emit_share(self, update):
        """Emit the sums of this device's rows, at once, so that they go to the others while it works on.

        Those of the other devices will lie beside them.
        """
        lowering, (number, count) = self._lowering, self._lowering.share
        stride, product = lowering.size(update.weights), update.product
        update.product, update.source, update.parts = None, lowering.reserve(count * stride), count
        place = {"target": update.source + number * stride, "rows_end": lowering.plan.batch_size}
        # The stage sums one part, that of this device.
        lowering.launch(product, **update.shape, **update.fields, **place, parts=1, part_stride=stride)

    def _parts_pay(self):
        """Say whether the sums of all parts are fewer numbers than what they are sums of."""
        cut = [update for update in self._wanted if update.product in CUT]
        sums = sum(update.parts * self._lowering.size(update.weights) for update in cut)
        read = 0
        for update in cut:
            window, weights = update.fields.get("window"), update.weights
            if window is None:
                read += weights.inputs + weights.columns
            else:
                read += window.height * window.width * weights.channels
                read += window.out_height * window.out_width * weights.columns
        return sums < self._lowering.plan.batch_size * read

    def _n_stages(self):
        """Return how many stages gradients and updates will be."""
        clipped = self._optimizer.clip_norm is not None
        direct = [self._is_direct(update) for update in self._wanted]
        products = [1 if self._joins_parts(update) else update.parts for update in self._wanted if update.product]
        return sum(products) + direct.count(False) + clipped * (1 + len(self._wanted))

    def _joins_parts(self, update):
        """Say whether one stage makes the sums of all parts."""
        lowering = self._lowering
        return update.product != DENSE or update.parts == 1 or lowering.joins_parts(DENSE, **update.shape)

    def _cut_into_parts(self, parts):
        """Decide into how many parts each product is cut."""
        for update in self._wanted:
            if update.product in CUT:
                update.parts = self._lowering.parts_of_product(parts, **update.shape, **update.fields)

    def _is_direct(self, update):
        """Say whether the tiles of a product end in the update of what they made."""
        return update.parts == 1 and self._lowering.updates_in(update.product, **update.shape, **update.fields)

    def _weight_tiles(self, update):
        """Return the tiles of weights that are updated, each with penalties and norms of its own."""
        is_dense = update.product == DENSE and self._is_direct(update)
        return self._lowering.cut(DENSE if is_dense else ADD_PARTS, **update.shape)["tiles"]

    def _update_stages(self, norms):
        """Return what stages say that end in an update, or where gradients are clipped in stored gradients."""
        lowering, optimizer = self._lowering, self._optimizer
        code, stages = lowering.code("optimizers", optimizer), []
        for update in self._wanted:
            weights, tiles = update.weights, self._weight_tiles(update)
            stage = {
                **update.shape,
                "weights": weights.offset,
                "transposed": weights.transposed,
                "code": code,
                "constants": lowering.constant(*update.penalty),
                "value": norms,
            }
            if optimizer.clip_norm is not None:
                norms += tiles
                stage["target"] = lowering.reserve(lowering.size(weights))
            if any(update.penalty):
                stage["losses"] = lowering.plan.partials
                lowering.plan.partials += 2 * tiles
            stages.append(stage)
        return stages

    def _stages(self, update, stage):
        """Yield the kernels and fields of an update's stages, of which ``stage`` is the last."""
        lowering, parts, batch_size = self._lowering, update.parts, self._lowering.plan.batch_size
        if self._is_direct(update):
            yield update.product, {**stage, **update.fields, "rows_end": batch_size}
            return
        stride = lowering.size(update.weights)
        source = lowering.reserve(parts * stride) if update.product else update.source
        sums = {**update.shape, **update.fields, "target": source, "parts": parts, "part_stride": stride}
        if update.product and self._joins_parts(update):
            yield update.product, {**sums, "rows_end": batch_size}
        elif update.product:
            for part in range(parts):
                begin, end = (lowering.rows_before(k, parts) for k in (part, part + 1))
                yield DENSE, {**sums, "target": source + part * stride, "rows_begin": begin, "rows_end": end}
        yield ADD_PARTS, {**stage, "source": source, "parts": parts, "part_stride": stride}

    def _emit_clipped(self, stages, norms, n_norms):
        """Emit the clipping factor and the updates from stored gradients."""
        lowering, factor = self._lowering, norms + n_norms
        limit = lowering.constant(self._optimizer.clip_norm)
        lowering.launch("clip_factor", inputs=n_norms, source=norms, target=factor, constants=limit)
        updates = [{**stage, "source": stage["target"], "value": factor} for stage in stages]
        lowering.launch_many("dense_update", updates)
