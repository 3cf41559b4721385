/* Layers that scale columns: by learned factors alone, after the statistics of the batch, or of each row.
 *
 * Weights are two rows, factors and shifts, or factors alone. Their gradients are sums over all rows: every block
 * stores its own at `sums`, in the layout of the weights, so that they are added up in a fixed order.
 */

/* What rows of this block, and of the batch, a stage's tensors have. */
#define BEGIN_ROWS_OF_PIXELS                                                                      \
    const int columns = stage->outputs, pixels = stage->pixels;                                   \
    const int first = n0 * pixels, rows = LARGER(count, 0) * pixels
#define TENSOR(offset) column_of(step, offset, j, columns, pixels)
/* What lies behind the last column may be no zero, nor finite: an activation has made it of one. */
#define INSIDE(x) without_padding(x, columns - j * WIDTH)

/* Row k of a matrix of `rows` rows, as weights and sums lie. */
static inline global scalar *vector_of(global scalar *matrix, int k, int j, int rows, int columns) {
    return matrix + panel_index(k, j * WIDTH, rows, columns);
}
#define FACTOR(j) load(vector_of(step->parameters + stage->weights, 0, j, 1 + stage->bias, columns))
#define SHIFT(j) load(vector_of(step->parameters + stage->weights, 1, j, 2, columns))
#define BLOCK_SUMS(block) (step->workspace + stage->sums + (size_t)(block) * stage->part_stride)

/* Store a block's sums of products and of gradients of column j. */
#define STORE_SUMS(products, gradients)                                                           \
    if (slice == 0) {                                                                             \
        store(INSIDE(products), vector_of(BLOCK_SUMS(block), 0, j, 1 + stage->bias, columns));    \
        if (stage->bias) store(gradients, vector_of(BLOCK_SUMS(block), 1, j, 2, columns));        \
    }

FUNCTION void scale_forward_rows(ROW_ARGUMENTS) {
    BEGIN_ROWS_OF_PIXELS;
    FOR_ROWS_AND_VECTORS(first, rows, columns, {
        store_row_of(TENSOR(stage->target), n, load_row_of(TENSOR(stage->source), n) * FACTOR(j));
    })
}

FUNCTION void scale_backward_rows(ROW_ARGUMENTS) {
    BEGIN_ROWS_OF_PIXELS;
    FOR_COLUMNS(columns, {
        const Column x = TENSOR(stage->value);
        const Column dy = TENSOR(stage->gradient);
        real products = 0;
        if (slice < slices)
            for (int n = first + slice; n < first + rows; n += slices) products += load_row_of(dy, n) * load_row_of(x, n);
        products = sum_slices(products, lanes, slices, scratch);
        STORE_SUMS(products, products)
    })
    if (stage->target >= 0)
        FOR_ROWS_AND_VECTORS(first, rows, columns, {
            store_row_of(TENSOR(stage->target), n, load_row_of(TENSOR(stage->gradient), n) * FACTOR(j));
        })
}

/* The mean of every column over a block's rows, and the sum of squared differences from it. */
FUNCTION void batch_norm_sums_rows(ROW_ARGUMENTS) {
    BEGIN_ROWS_OF_PIXELS;
    FOR_COLUMNS(columns, {
        const Column x = TENSOR(stage->source);
        real mean = 0;
        real squares = 0;
        if (slice < slices)
            for (int n = first + slice; n < first + rows; n += slices) mean += load_row_of(x, n);
        mean = sum_slices(mean, lanes, slices, scratch) / (scalar)LARGER(rows, 1);
        if (slice < slices)
            for (int n = first + slice; n < first + rows; n += slices) {
                const real difference = load_row_of(x, n) - mean;
                squares += difference * difference;
            }
        squares = sum_slices(squares, lanes, slices, scratch);
        if (slice == 0) {
            store(mean, vector_of(BLOCK_SUMS(block), 0, j, 2, columns));
            store(squares, vector_of(BLOCK_SUMS(block), 1, j, 2, columns));
        }
    })
}

/* Mean and inverse deviation of the batch at `target` (Chan, Golub and LeVeque 1979), and the running mean and variance,
 * at `weights`. constants: [share of the running ones that stays, epsilon] */
static inline void batch_norm_statistics(STEP step, STAGE stage, int tile) {
    const int columns = stage->outputs, block_rows = step->run->block_rows, j = tile * ITEMS + ITEM;
    if (j >= vectors_of(columns)) return;
    real mean = 0, squares = 0;
    scalar total = 0;
    for (int block = 0; block * block_rows < step->rows; block++) {
        const scalar rows = (scalar)(SMALLER(block_rows, step->rows - block * block_rows) * stage->pixels);
        const real difference = load(vector_of(BLOCK_SUMS(block), 0, j, 2, columns)) - mean;
        total += rows;
        mean += difference * (rows / total);
        squares += load(vector_of(BLOCK_SUMS(block), 1, j, 2, columns))
                   + difference * difference * (rows * (total - rows) / total);
    }
    /* One row has no variance: the running ones stay as they are. */
    const scalar stays = total > 1 ? constant_of(step, stage, 0) : (scalar)1, epsilon = constant_of(step, stage, 1);
    global scalar *batch = step->workspace + stage->target, *running = step->parameters + stage->weights;
    store(mean, vector_of(batch, 0, j, 2, columns));
    store(1 / sqrt(squares / total + epsilon), vector_of(batch, 1, j, 2, columns));
    global scalar *running_mean = vector_of(running, 0, j, 2, columns);
    global scalar *running_variance = vector_of(running, 1, j, 2, columns);
    const real variance = squares / LARGER(total - 1, (scalar)1);
    store(without_padding(stays * load(running_mean) + (1 - stays) * mean, columns - j * WIDTH), running_mean);
    store(without_padding(stays * load(running_variance) + (1 - stays) * variance, columns - j * WIDTH), running_variance);
}

/* y = (x - mean) / deviation * factor + shift; the batch's at `value`, or else the running ones at `transposed`. */
FUNCTION void batch_norm_forward_rows(ROW_ARGUMENTS) {
    BEGIN_ROWS_OF_PIXELS;
    const bool is_batch = stage->value >= 0;
    global scalar *statistics = is_batch ? step->workspace + stage->value : step->parameters + stage->transposed;
    FOR_COLUMNS(columns, {
        const Column x = TENSOR(stage->source);
        const Column y = TENSOR(stage->target);
        const real mean = load(vector_of(statistics, 0, j, 2, columns));
        const real spread = load(vector_of(statistics, 1, j, 2, columns));
        const real scale = FACTOR(j) * (is_batch ? spread : 1 / sqrt(spread + constant_of(step, stage, 1)));
        const real shift = SHIFT(j);
        if (slice < slices)
            for (int n = first + slice; n < first + rows; n += slices)
                store_row_of(y, n, without_padding((load_row_of(x, n) - mean) * scale + shift, columns - j * WIDTH));
    })
}

FUNCTION void batch_norm_backward_sums_rows(ROW_ARGUMENTS) {
    BEGIN_ROWS_OF_PIXELS;
    global scalar *statistics = step->workspace + stage->saved;
    FOR_COLUMNS(columns, {
        const Column x = TENSOR(stage->value);
        const Column dy = TENSOR(stage->gradient);
        const real mean = load(vector_of(statistics, 0, j, 2, columns));
        const real spread = load(vector_of(statistics, 1, j, 2, columns));
        real products = 0;
        real gradients = 0;
        if (slice < slices)
            for (int n = first + slice; n < first + rows; n += slices) {
                const real gradient = load_row_of(dy, n);
                products += gradient * ((load_row_of(x, n) - mean) * spread);
                gradients += gradient;
            }
        products = sum_slices(products, lanes, slices, scratch);
        gradients = sum_slices(gradients, lanes, slices, scratch);
        STORE_SUMS(products, gradients)
    })
}

/* Add up the blocks' sums: the gradients of factors and shifts, at `target`. */
static inline void batch_norm_backward_statistics(STEP step, STAGE stage, int tile) {
    const int columns = stage->outputs, block_rows = step->run->block_rows, j = tile * ITEMS + ITEM;
    if (j >= vectors_of(columns)) return;
    for (int k = 0; k < 2; k++) {
        real total = 0;
        for (int block = 0; block * block_rows < step->rows; block++)
            total += load(vector_of(BLOCK_SUMS(block), k, j, 2, columns));
        store(total, vector_of(step->workspace + stage->target, k, j, 2, columns));
    }
}

/* dx = factor / deviation * (dy - mean dy - x' mean (dy x')), x' being x less its mean, divided by the deviation. */
FUNCTION void batch_norm_backward_rows(ROW_ARGUMENTS) {
    BEGIN_ROWS_OF_PIXELS;
    global scalar *statistics = step->workspace + stage->saved;
    const scalar total = (scalar)(step->rows * pixels);
    FOR_COLUMNS(columns, {
        const Column x = TENSOR(stage->value);
        const Column dy = TENSOR(stage->gradient);
        const Column dx = TENSOR(stage->target);
        const real mean = load(vector_of(statistics, 0, j, 2, columns));
        const real spread = load(vector_of(statistics, 1, j, 2, columns));
        const real products = load(vector_of(BLOCK_SUMS(0), 0, j, 2, columns)) / total;
        const real gradients = load(vector_of(BLOCK_SUMS(0), 1, j, 2, columns)) / total;
        const real scale = FACTOR(j) * spread;
        if (slice < slices)
            for (int n = first + slice; n < first + rows; n += slices) {
                const real standard = (load_row_of(x, n) - mean) * spread;
                store_row_of(dx, n, INSIDE(scale * (load_row_of(dy, n) - gradients - standard * products)));
            }
    })
}

/* Run STATEMENT for each row n of the block, which 2^log_lanes items share: whole groups come here. */
#define FOR_SHARED_ROWS(STATEMENT)                                                                \
    const int log_lanes = stage->log_lanes, step_of_lane = 1 << log_lanes;                        \
    const int lane = ITEM & (step_of_lane - 1), rows_at_once = ITEMS >> log_lanes;                \
    for (int r_ = 0; r_ < rows; r_ += rows_at_once) {                                             \
        const int n = first + r_ + (ITEM >> log_lanes);                                           \
        const int end = n < first + rows ? vectors_of(columns) : 0;                               \
        STATEMENT;                                                                                \
    }
#define FOR_LANES for (int j = lane; j < end; j += step_of_lane)

/* Mean and inverse deviation of a row over its columns, kept for the way back at `saved`. constants: [epsilon] */
FUNCTION void layer_norm_forward_rows(ROW_ARGUMENTS) {
    BEGIN_ROWS_OF_PIXELS;
    FOR_SHARED_ROWS({
        real sums = 0;
        FOR_LANES sums += INSIDE(load_row_of(TENSOR(stage->source), n));
        const scalar mean = sum_over_lanes(lane_sum(sums), log_lanes, scratch) / columns;
        sums = 0;
        FOR_LANES {
            const real difference = INSIDE(load_row_of(TENSOR(stage->source), n) - mean);
            sums += difference * difference;
        }
        const scalar variance = sum_over_lanes(lane_sum(sums), log_lanes, scratch) / columns;
        const scalar spread = 1 / sqrt(variance + constant_of(step, stage, 0));
        if (stage->saved >= 0 && lane == 0 && end > 0) {
            step->workspace[stage->saved + 2 * n] = mean;
            step->workspace[stage->saved + 2 * n + 1] = spread;
        }
        FOR_LANES {
            const real standard = (load_row_of(TENSOR(stage->source), n) - mean) * spread;
            store_row_of(TENSOR(stage->target), n, INSIDE(standard * FACTOR(j) + SHIFT(j)));
        }
    })
}

FUNCTION void layer_norm_backward_rows(ROW_ARGUMENTS) {
    BEGIN_ROWS_OF_PIXELS;
    const global scalar *statistics = step->workspace + stage->saved;
    FOR_COLUMNS(columns, {
        const Column x = TENSOR(stage->value);
        const Column dy = TENSOR(stage->gradient);
        real products = 0;
        real gradients = 0;
        if (slice < slices)
            for (int n = first + slice; n < first + rows; n += slices) {
                const real gradient = load_row_of(dy, n);
                products += gradient * ((load_row_of(x, n) - statistics[2 * n]) * statistics[2 * n + 1]);
                gradients += gradient;
            }
        products = sum_slices(products, lanes, slices, scratch);
        gradients = sum_slices(gradients, lanes, slices, scratch);
        STORE_SUMS(products, gradients)
    })
    if (stage->target < 0) return;
    FOR_SHARED_ROWS({
        const scalar mean = end > 0 ? statistics[2 * n] : (scalar)0;
        const scalar spread = end > 0 ? statistics[2 * n + 1] : (scalar)0;
        real gradients = 0;
        real products = 0;
        FOR_LANES {
            const real gradient = INSIDE(load_row_of(TENSOR(stage->gradient), n) * FACTOR(j));
            gradients += gradient;
            products += gradient * INSIDE((load_row_of(TENSOR(stage->value), n) - mean) * spread);
        }
        const scalar mean_gradient = sum_over_lanes(lane_sum(gradients), log_lanes, scratch) / columns;
        const scalar mean_product = sum_over_lanes(lane_sum(products), log_lanes, scratch) / columns;
        FOR_LANES {
            const real gradient = load_row_of(TENSOR(stage->gradient), n) * FACTOR(j);
            const real standard = (load_row_of(TENSOR(stage->value), n) - mean) * spread;
            store_row_of(TENSOR(stage->target), n, INSIDE(spread * (gradient - mean_gradient - standard * mean_product)));
        }
    })
}
