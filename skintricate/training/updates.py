"""The end of a step: the gradients of all weights, and the optimizer's update of each."""


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

    def add(self, weights, **fields):
        """Ask for the gradient and update of a layer's weights."""
        self._wanted.append((weights, fields))

    def emit(self, parts):
        """Emit gradients and updates, with the batch cut into at most so many parts."""
        if not self._wanted:
            return
        if not self._parts_pay(parts):
            parts = 1
        lowering, clip = self._lowering, self._optimizer.clip_norm
        kernel = "dense_add_parts" if parts > 1 else "dense_backward_weights"
        n_tiles = sum(lowering.cut(kernel, **fields)["tiles"] for _, fields in self._wanted)
        norms = lowering.reserve(n_tiles + 1) if clip is not None else -1
        stages = self._stages(kernel, norms)
        if parts > 1:
            stages = self._emit_parts(parts, stages)
        lowering.launch_many(kernel, stages)
        if clip is not None:
            self._emit_clipped(stages, norms, n_tiles)

    def _parts_pay(self, parts):
        """Say whether the sums of all parts are fewer numbers than what they are sums of."""
        sums = parts * sum(self._lowering.size(weights) for weights, _ in self._wanted)
        columns = sum(weights.inputs + weights.columns for weights, _ in self._wanted)
        return sums < self._lowering.plan.batch_size * columns

    def _stages(self, kernel, norms):
        """Return the stages that end in an update, or where gradients are clipped in stored gradients."""
        lowering, optimizer, plan = self._lowering, self._optimizer, self._lowering.plan
        code, alpha = lowering.code("optimizers", optimizer), lowering.constant(self._alpha)
        stages = []
        for weights, fields in self._wanted:
            tiles = lowering.cut(kernel, **fields)["tiles"]
            stage = {
                "weights": weights.offset,
                "transposed": weights.transposed if weights.transposed_used else -1,
                "code": code,
                "constants": alpha,
                "value": norms,
                "rows_end": plan.batch_size,
                **fields,
            }
            if optimizer.clip_norm is not None:
                norms += tiles
                stage["target"] = lowering.reserve(lowering.size(weights))
            if self._alpha > 0:
                stage["losses"] = plan.partials
                plan.partials += 2 * tiles
            stages.append(stage)
        return stages

    def _emit_parts(self, parts, stages):
        """Emit the sums of every part; return the stages that add them up."""
        lowering = self._lowering
        stride = sum(lowering.size(weights) for weights, _ in self._wanted)
        first = lowering.reserve(parts * stride)
        sums, added = [], []
        for part in range(parts):
            begin, end = (lowering.rows_before(k, parts) for k in (part, part + 1))
            target = first + part * stride
            for stage, (weights, _) in zip(stages, self._wanted):
                if part == 0:
                    added.append({**stage, "source": target, "parts": parts, "part_stride": stride})
                place = {"target": target, "parts": parts, "rows_begin": begin, "rows_end": end}
                sums.append({**stage, **place, "losses": -1})
                target += lowering.size(weights)
        lowering.launch_many("dense_backward_weights", sums)
        return added

    def _emit_clipped(self, stages, norms, n_norms):
        """Emit the clipping factor and the updates from stored gradients."""
        lowering, factor = self._lowering, norms + n_norms
        limit = lowering.constant(self._optimizer.clip_norm)
        lowering.launch("clip_factor", inputs=n_norms, source=norms, target=factor, constants=limit)
        updates = [{**stage, "source": stage["target"], "value": factor} for stage in stages]
        lowering.launch_many("dense_update", updates)
