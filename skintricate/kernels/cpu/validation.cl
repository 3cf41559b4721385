/* The validation score of an epoch, and the weights of the best one. The forward pass over the validation rows
 * is that of predictions, with the same bits. What is summed:
 *
 * CLASS_HITS       rows where the first of the largest outputs is the class
 * LABEL_HITS       rows where every output is on its label's side of one half
 * SQUARED_ERRORS   squared errors, each output's times its constant
 */

/* Sum over ROWS rows, weighted; NaN where an output is not finite. */
TILE_FUNCTION validation_score_tile(const Step *step, const global Stage *stage, int tile_number) {
    const int batch = step->run->batch_size, columns = stage->outputs;
    const global scalar *values = step->workspace + stage->value, *factors = step->constants + stage->constants;
    scalar total = 0;
    for (int n = tile_number * ROWS; n < SMALLER((tile_number + 1) * ROWS, step->rows); n++) {
        const size_t row = sample_row(step, n);
        const global scalar *targets = step->Y + row * step->run->target_columns;
        int largest = 0, hits = 0;
        scalar error = 0, spoilt = 0, highest = values[panel_index(n, 0, batch, columns)];
        for (int j = 0; j < columns; j++) {
            const scalar y = values[panel_index(n, j, batch, columns)];
            spoilt += y - y; /* zero, or NaN */
            if (stage->code == CLASS_HITS) {
                if (y > highest) { highest = y; largest = j; }
            } else {
                hits += (y > (scalar)0.5) == (targets[j] > (scalar)0.5);
                error += factors[j] * (y - targets[j]) * (y - targets[j]);
            }
        }
        const scalar score = stage->code == CLASS_HITS ? largest == (int)targets[0]
                             : stage->code == LABEL_HITS ? hits == columns : error;
        total += (step->run->weighted ? score * step->sample_weight[row] : score) + spoilt;
    }
    step->losses[stage->losses + tile_number] = total;
}

/* Reduce the sums of all tiles to the epoch's score; `validation` is the run of the validation rows. */
static inline void reduce_score(const global Run *run, const global Run *validation, const global scalar *losses,
                                global scalar *history, global int *control, int slot, int capacity) {
    scalar total = 0;
    for (int s = 0; s < validation->steps; s++) {
        const int rows = SMALLER(run->batch_size, validation->samples - s * run->batch_size);
        const global scalar *sums = losses + validation->first_loss + (size_t)s * (validation->partials + 1) + 1;
        for (int k = 0; k < (rows + ROWS - 1) / ROWS; k++) total += sums[k];
    }
    record_score(run, history, control, slot, capacity, total);
}

/* Copy COPIED of the weights aside if they are the best so far. */
static inline void keep_best(const global Run *run, global scalar *parameters, const global int *control, int tile) {
    if (!control[3]) return;
    const int end = SMALLER((tile + 1) * COPIED, run->parameter_count);
    for (int i = tile * COPIED; i < end; i += WIDTH) store(load(parameters + i), parameters + run->best + i);
}
