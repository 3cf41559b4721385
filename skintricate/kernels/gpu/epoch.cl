/* An epoch's beginning and end, shared out among the work-items of groups. */

DEFINE_SHUFFLE(shuffle_index, uint)

/* Place `position` of an epoch's order. */
static inline void order_sample(TABLE const Run *run, global int *order, uint position, uint epoch) {
    const uint side = run->shuffle_side, samples = run->samples;
    const uint key = philox((uint2)(epoch, 0u), run->seed).x;
    if (position >= samples) return;
    uint left = position / side, right = position % side, index;
    do index = shuffle_index(&left, &right, key, side);
    while (index >= samples);
    put_in_order(run, order, position, index);
}

/* The sum of the sample weights of step s of an epoch; column 0 of the losses. */
static inline void weigh_step(TABLE const Run *run, const global scalar *sample_weight, const global int *order,
                              global scalar *losses, int s, local scalar *scratch) {
    const int first = run->first_row + s * run->step_rows;
    const int end = run->first_row + SMALLER((s + 1) * run->step_rows, run->samples);
    scalar total = 0;
    for (int n = first + ITEM; n < end; n += ITEMS) total += sample_weight[run->ordered ? order[n] : n];
    total = sum_over_group(total, ITEMS, scratch);
    if (ITEM == 0) losses[(size_t)s * (run->partials + 1)] = total;
}

/* Reduce the partial losses of the epoch at `slot` to step losses and one epoch loss: neighbouring lanes share a step,
 * and several steps are reduced at once. */
static inline void reduce_epoch(TABLE const Run *run, const global scalar *constants, const global scalar *losses,
                                global scalar *history, global int *control, int slot, int capacity,
                                local scalar *scratch) {
    const int log_lanes = log_of(run->partials / 2, 32), lanes = 1 << log_lanes, steps_at_once = ITEMS >> log_lanes;
    const int lane = ITEM & (lanes - 1);
    scalar total = 0, total_correct = 0, total_weight = 0;
    for (int begin = 0; begin < run->steps; begin += steps_at_once) {
        const int s = begin + (ITEM >> log_lanes);
        global const scalar *partial = losses + (size_t)s * (run->partials + 1);
        scalar loss = 0, correct = 0;
        if (s < run->steps)
            for (int k = 2 * lane; k < run->partials; k += 2 * lanes) {
                loss += partial[1 + k];
                correct += partial[2 + k];
            }
        loss = sum_over_lanes(loss, log_lanes, scratch);
        correct = sum_over_lanes(correct, log_lanes, scratch);
        if (lane == 0 && s < run->steps) {
            const scalar rows = SMALLER(run->step_rows, run->samples - s * run->step_rows);
            const scalar weight = run->weighted ? partial[0] : rows;
            record_step(run, history, slot, capacity, s, loss, correct, weight);
            total += loss;
            total_correct += correct;
            total_weight += weight;
        }
    }
    if (run->steps > 1) {
        total = sum_over_group(total, ITEMS, scratch);
        total_correct = sum_over_group(total_correct, ITEMS, scratch);
        total_weight = sum_over_group(total_weight, ITEMS, scratch);
    }
    if (ITEM == 0)
        record_epoch(run, constants, history, control, slot, capacity, total, total_correct, total_weight);
}

/* Reduce the sums of all blocks to the epoch's score; runs[1] is the run of the validation rows. */
static inline void reduce_score(TABLE const Run *runs, const global scalar *losses, global scalar *history,
                                global int *control, int slot, int capacity, local scalar *scratch) {
    TABLE const Run *validation = runs + 1;
    scalar total = 0;
    for (int s = 0; s < validation->steps; s++) {
        const int rows = SMALLER(runs->batch_size, validation->samples - s * runs->batch_size);
        const global scalar *sums = losses + validation->first_loss + (size_t)s * (validation->partials + 1) + 1;
        const int blocks = (rows + runs->block_rows - 1) / runs->block_rows;
        for (int k = ITEM; k < blocks; k += ITEMS) total += sums[k];
    }
    total = sum_over_group(total, ITEMS, scratch);
    if (ITEM == 0) record_score(runs, history, control, slot, capacity, total);
}

/* Copy COPIED of the weights aside if they are the best so far. */
static inline void keep_best(TABLE const Run *run, global scalar *parameters, const global int *control, int tile) {
    if (!control[3]) return;
    const int end = SMALLER((tile + 1) * COPIED, run->parameter_count);
    for (int i = tile * COPIED + ITEM * WIDTH; i < end; i += ITEMS * WIDTH)
        store(load(parameters + i), parameters + run->best + i);
}
