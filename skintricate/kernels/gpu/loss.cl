/* The loss of a step with its gradient, and the validation score, for a block of rows.
 *
 * Partial sums of a block go to the step's losses as a pair (loss, correct predictions), both weighted. The gradient
 * is weighted too, but not yet divided by the sum of the weights: the weights' gradient does that. constants: [scale,
 * threshold, hyper-parameters...], where scale averages over outputs and threshold separates two classes (NaN: one
 * class of many, the largest output). The result is the gradient before the activation that made the values.
 */

/* The targets of WIDTH columns of one row, zero past the last; `code` is its class, where Y holds those. */
static inline real load_target(STEP step, STAGE stage, size_t row, int code, int column) {
    if (step->run->class_codes) return LANES == code - column ? (real)1 : (real)0;
    scalar targets[WIDTH];
    for (int lane = 0; lane < WIDTH; lane++)
        targets[lane] = column + lane < stage->outputs ? step->Y[row * step->run->target_columns + column + lane] : (scalar)0;
    return load_private(targets);
}

/* The gradient before the activation that made the values at `at`. */
static inline real through_activation(STEP step, STAGE stage, size_t at, real gradient) {
    Activated y;
    load_activated(step, stage, at, &y);
    return through_derivative(stage->activation, gradient, y.before, y.value, step->constants + stage->activation_constants);
}

/* The sum of so many neighbours, a constant. */
INLINED scalar sum_of(local const scalar *numbers, int count) {
    scalar total = 0;
#pragma unroll
    for (int k = 0; k < count; k++) total += numbers[k];
    return total;
}
/* Sums over the rows of a block, of each row's first lane; store them as one or as two partial losses. Of many rows, eight
 * are summed first. */
static inline void store_losses(STEP step, STAGE stage, int first, int numbers, scalar loss, scalar correct, int count,
                                local scalar *scratch) {
    const int log_lanes = stage->log_lanes, lane = ITEM & ((1 << log_lanes) - 1), r = ITEM >> log_lanes;
    const int place = lane * (ITEMS >> log_lanes) + r; /* other lanes fill up with zeros */
    if (place < MOST_LOSS_ROWS) {
        scratch[place] = lane == 0 && r < count ? loss : 0;
        scratch[MOST_LOSS_ROWS + place] = lane == 0 && r < count ? correct : 0;
    }
    SYNC_LOCAL;
#if MOST_LOSS_ROWS > 8
    local scalar *sums = scratch + 2 * MOST_LOSS_ROWS;
    if (ITEM < 2 * (MOST_LOSS_ROWS / 8)) sums[ITEM] = sum_of(scratch + 8 * ITEM, 8);
    SYNC_LOCAL;
    if (ITEM < numbers) step->losses[stage->losses + first + ITEM] = sum_of(sums + MOST_LOSS_ROWS / 8 * ITEM, MOST_LOSS_ROWS / 8);
#else
    if (ITEM < numbers) step->losses[stage->losses + first + ITEM] = sum_of(scratch + MOST_LOSS_ROWS * ITEM, MOST_LOSS_ROWS);
#endif
    SYNC_LOCAL;
}

/* What the functions below begin with. */
#define BEGIN_ROWS                                                                                \
    SHARE_ROWS;                                                                                   \
    const size_t row = r < count ? sample_row(step, n0 + r) : 0, first = (size_t)(n0 + r) * vectors * WIDTH; \
    const int code = r < count && step->run->class_codes ? (int)step->Y[row] : 0;                 \
    const scalar weight = r < count && step->run->weighted ? step->sample_weight[row] : (scalar)1

/* For each vector j that an item has of its row. An item of a group that trains a network by itself has few of them, and
 * instructions have to be fetched, too: its loops stay loops. */
#ifdef WHOLE_NETWORK
#define FOR_OWN_VECTORS(j) _Pragma("unroll 1") for (int j = lane; j < end; j += lanes)
#else
#define FOR_OWN_VECTORS(j) for (int j = lane; j < end; j += lanes)
#endif

FUNCTION void loss_elementwise_rows(ROW_ARGUMENTS) {
    BEGIN_ROWS;
    const global scalar *p = step->constants + stage->constants;
    const scalar scale = p[0], threshold = p[1];
    const bool one_of_many = step->run->class_codes || isnan(threshold);
    real total = 0, total_correct = 0, maxima = -INFINITY, target_maxima = -INFINITY;
    FOR_OWN_VECTORS(j) {
        const mask inside = LANES < columns - j * WIDTH;
        const size_t at = first + j * WIDTH;
        const real y = load(step->workspace + stage->value + at), t = load_target(step, stage, row, code, j * WIDTH);
        real gradient = loss_derivative(stage->code, y, t, p + 2) * (weight * scale);
        gradient = through_activation(step, stage, at, gradient);
        maxima = LARGER(maxima, (inside ? y : (real)(-INFINITY)));
        target_maxima = LARGER(target_maxima, (inside && t > (scalar)0.5 ? y : (real)(-INFINITY)));
        /* A row without weight does not count, even where its loss or gradient is not finite. */
        store(inside && weight != 0 ? gradient : (real)0, step->workspace + stage->target + at);
        if (weight != 0) {
            total += inside ? loss_of(stage->code, y, t, p + 2) * (weight * scale) : (real)0;
            total_correct += inside && ((y > threshold) == (t > (scalar)0.5)) ? (real)(weight / columns) : (real)0;
        }
    }
    scalar correct;
    if (one_of_many) {
        const scalar largest = largest_over_lanes(lane_max(maxima), log_lanes, scratch);
        correct = largest_over_lanes(lane_max(target_maxima), log_lanes, scratch) == largest ? weight : (scalar)0;
    } else {
        correct = sum_over_lanes(lane_sum(total_correct), log_lanes, scratch);
    }
    const scalar loss = sum_over_lanes(lane_sum(total), log_lanes, scratch);
    store_losses(step, stage, 2 * block, 2, loss, correct, count, scratch);
}

/* Categorical cross-entropy of the softmax of x, stable: log p_j = x_j - max x - log sum_k exp(x_k - max x).
 * value -sum_j t_j log p_j, gradient p_j sum_k t_k - t_j; the exponentials wait where the gradient goes. */
FUNCTION void loss_softmax_rows(ROW_ARGUMENTS) {
    BEGIN_ROWS;
    const global scalar *values = step->workspace + stage->value + first;
    global scalar *target = step->workspace + stage->target + first;
    real maxima = -INFINITY, sums = 0, target_maxima = -INFINITY, target_sums = 0, losses = 0;
    FOR_OWN_VECTORS(j)
        maxima = LARGER(maxima, (LANES < columns - j * WIDTH ? load(values + j * WIDTH) : (real)(-INFINITY)));
    const scalar largest = largest_over_lanes(lane_max(maxima), log_lanes, scratch);
    FOR_OWN_VECTORS(j) {
        const real e = LANES < columns - j * WIDTH ? exp(load(values + j * WIDTH) - largest) : (real)0;
        sums += e;
        store(e, target + j * WIDTH);
    }
    const scalar sum = sum_over_lanes(lane_sum(sums), log_lanes, scratch), log_sum = largest + log(sum);
    scalar loss = 0, target_largest = 0, target_sum = 1;
    if (step->run->class_codes) {
        if (r < count) target_largest = values[code];
        loss = log_sum - target_largest;
    } else {
        FOR_OWN_VECTORS(j) {
            const mask inside = LANES < columns - j * WIDTH;
            const real x = load(values + j * WIDTH), t = load_target(step, stage, row, code, j * WIDTH);
            target_maxima = LARGER(target_maxima, (inside && t > (scalar)0.5 ? x : (real)(-INFINITY)));
            target_sums += t;
            losses += inside ? t * (log_sum - x) : (real)0;
        }
        target_largest = largest_over_lanes(lane_max(target_maxima), log_lanes, scratch);
        target_sum = sum_over_lanes(lane_sum(target_sums), log_lanes, scratch);
        loss = sum_over_lanes(lane_sum(losses), log_lanes, scratch);
    }
    const scalar scale = weight * target_sum / sum;
    FOR_OWN_VECTORS(j) {
        real gradient = load(target + j * WIDTH) * scale - load_target(step, stage, row, code, j * WIDTH) * weight;
        gradient = through_activation(step, stage, first + j * WIDTH, gradient);
        store(LANES < columns - j * WIDTH && weight != 0 ? gradient : (real)0, target + j * WIDTH);
    }
    store_losses(step, stage, 2 * block, 2, weight != 0 ? weight * loss : (scalar)0,
                 weight != 0 && target_largest == largest ? weight : (scalar)0, count, scratch);
}

/* Sum over the rows of a block, weighted; NaN where an output is not finite.
 *
 * CLASS_HITS       rows where the first of the largest outputs is the class
 * LABEL_HITS       rows where every output is on its label's side of one half
 * SQUARED_ERRORS   squared errors, each output's times its constant
 */
FUNCTION void validation_score_rows(ROW_ARGUMENTS) {
    BEGIN_ROWS;
    const global scalar *values = step->workspace + stage->value + first, *factors = step->constants + stage->constants;
    const global scalar *targets = step->Y + row * step->run->target_columns;
    scalar misses = 0, error = 0, spoilt = 0, highest = -INFINITY, place = columns;
    for (int j = lane * WIDTH; j < end * WIDTH; j += lanes * WIDTH)
        for (int o = j; o < SMALLER(j + WIDTH, columns); o++) {
            const scalar y = values[o];
            spoilt += y - y; /* zero, or NaN */
            if (stage->code == CLASS_HITS) {
                if (y > highest) { highest = y; place = o; }
            } else {
                misses += (y > (scalar)0.5) != (targets[o] > (scalar)0.5);
                error += factors[o] * (y - targets[o]) * (y - targets[o]);
            }
        }
    scalar score;
    if (stage->code == CLASS_HITS) {
        const scalar largest = largest_over_lanes(highest, log_lanes, scratch);
        /* The first of them: the lanes' places, negative, have their largest there. */
        const scalar first_place = -largest_over_lanes(highest == largest ? -place : -(scalar)columns, log_lanes, scratch);
        score = first_place == code;
    } else if (stage->code == LABEL_HITS) {
        score = sum_over_lanes(misses, log_lanes, scratch) == 0;
    } else {
        score = sum_over_lanes(error, log_lanes, scratch);
    }
    score = weight * score + sum_over_lanes(spoilt, log_lanes, scratch);
    store_losses(step, stage, block, 1, score, 0, count, scratch);
}
