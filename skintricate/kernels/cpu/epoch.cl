/* An epoch's beginning and end, for work-groups of one work-item. */
typedef JOIN(uint, WIDTH) indices;
typedef indices unaligned_indices __attribute__((aligned(4)));
#define INDEX_LANES (JOIN(convert_uint, WIDTH)(LANES))
DEFINE_SHUFFLE(shuffle_indices, indices)

/* Order the samples row * side + (0 .. side - 1) of an epoch. */
static inline void order_row(const global Run *run, global int *order, uint row, uint epoch) {
    const uint side = run->shuffle_side, samples = run->samples;
    const uint key = philox((uint2)(epoch, 0u), run->seed).x;
    for (uint begin = 0; begin < side && row * side + begin < samples; begin += WIDTH) {
        const uint left_in_row = SMALLER(side - begin, samples - (row * side + begin));
        const uint count = SMALLER(left_in_row, (uint)WIDTH);
        indices left = row, right = begin + INDEX_LANES, result = 0;
        JOIN(int, WIDTH) todo = INDEX_LANES < count;
        while (any(todo)) {
            const indices index = shuffle_indices(&left, &right, key, side);
            result = todo && index < samples ? index : result;
            todo = todo && index >= samples;
        }
        uint lanes[WIDTH];
        *(unaligned_indices *)lanes = result;
        for (uint i = 0; i < count; i++) put_in_order(run, order, row * side + begin + i, lanes[i]);
    }
}

/* The sum of the sample weights of step s of an epoch; column 0 of the losses. */
static inline void weigh_step(const global Run *run, const global scalar *sample_weight, const global int *order,
                              global scalar *losses, int s) {
    scalar total = 0;
    const int end = run->first_row + SMALLER((s + 1) * run->step_rows, run->samples);
    /* fma keeps the sum in order: Intel's compiler sums in vector lanes where the rows are not gathered. */
    for (int n = run->first_row + s * run->step_rows; n < end; n++)
        total = fma(sample_weight[run->ordered ? order[n] : n], (scalar)1, total);
    losses[(size_t)s * (run->partials + 1)] = total;
}

/* Reduce the partial losses of the epoch at `slot` to step losses and one epoch loss. */
static inline void reduce_epoch(const global Run *run, const global scalar *constants, const global scalar *losses,
                                global scalar *history, global int *control, int slot, int capacity) {
    scalar total = 0, total_correct = 0, total_weight = 0;
    for (int s = 0; s < run->steps; s++) {
        global const scalar *partial = losses + (size_t)s * (run->partials + 1);
        const int rows = SMALLER(run->step_rows, run->samples - s * run->step_rows);
        const scalar weight = run->weighted ? partial[0] : (scalar)rows;
        scalar loss = 0, correct = 0;
        for (int k = 0; k < run->partials; k += 2) {
            loss += partial[1 + k];
            correct += partial[2 + k];
        }
        total += loss;
        total_correct += correct;
        total_weight += weight;
        record_step(run, history, slot, capacity, s, loss, correct, weight);
    }
    record_epoch(run, constants, history, control, slot, capacity, total, total_correct, total_weight);
}

/* The launch's offset is the epoch. */
KERNEL order_samples(STEP_ARGUMENTS) {
    if (control[0] || get_global_id(0) >= run->shuffle_side) return;
    order_row(run, order, get_global_id(0), get_global_id(1));
}

KERNEL weigh_steps(STEP_ARGUMENTS) {
    if (control[0] || get_global_id(0) >= run->steps) return;
    weigh_step(run, sample_weight, order, losses, get_global_id(0));
}

/* The launch's offset is the epoch's slot in the history. */
KERNEL finish_epoch(STEP_ARGUMENTS, int capacity) {
    if (get_global_id(0) > 0 || control[0]) return;
    reduce_epoch(run, constants, losses, history, control, get_global_id(1), capacity);
}
