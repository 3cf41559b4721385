/* The loss of a step with its gradient, ROWS rows a tile.
 *
 * Partial sums per tile go to the step's losses as pairs (loss, correct predictions), both weighted.
 * The gradient is weighted too, but not yet divided by the sum of the weights: the weights'
 * gradient does that once a tile. constants: [scale, threshold, hyper-parameters...], where scale averages over
 * outputs and threshold separates two classes (NaN: one class of many, the largest output). The result is the
 * gradient before the activation that made the values.
 */

/* The targets of WIDTH columns of one row. */
static inline real load_target(const Step *step, size_t row, int column) {
    if (step->run->class_codes) {
        const int code = (int)step->Y[row];
        return LANES == code - column ? (real)1 : (real)0;
    }
    return load(step->Y + row * step->run->target_columns + column);
}

/* Multiply by the derivative of the activation that made the values at `at`. */
static inline void through_activation(const Step *step, const global Stage *stage, size_t at, real *gradient) {
    const global scalar *y = step->workspace + stage->value + at;
    const global scalar *x = stage->saved >= 0 ? step->workspace + stage->saved + at : y;
    activation_derivative(stage->activation, 1, gradient, x, y, step->constants + stage->activation_constants);
}

static inline void store_losses(const Step *step, const global Stage *stage, int tile_number, scalar total,
                                scalar correct) {
    step->losses[stage->losses + 2 * tile_number] = total;
    step->losses[stage->losses + 2 * tile_number + 1] = correct;
}

#if ROWS <= WIDTH
/* The rows of a tile in the lanes of one vector, where each has one output and no activation of its own. */
static inline void loss_of_one_column(const Step *step, const global Stage *stage, int tile_number) {
    const int first = tile_number * ROWS, rows = SMALLER(ROWS, step->rows - first);
    const size_t at = (size_t)first * WIDTH;
    const global scalar *p = step->constants + stage->constants;
    const scalar scale = p[0], threshold = p[1];
    scalar outputs[WIDTH] = {0}, targets[WIDTH] = {0}, weights[WIDTH] = {0}, gradients[WIDTH];
    for (int r = 0; r < rows; r++) {
        const size_t row = sample_row(step, first + r);
        outputs[r] = step->workspace[stage->value + at + r * WIDTH];
        targets[r] = step->run->class_codes ? step->Y[row] == 0 : step->Y[row * step->run->target_columns];
        weights[r] = step->run->weighted ? step->sample_weight[row] : (scalar)1;
    }
    const real y = load_private(outputs), t = load_private(targets), weight = load_private(weights);
    const real right = step->run->class_codes || isnan(threshold)
                           ? (t > (scalar)0.5 ? weight : (real)0)
                           : ((y > threshold) == (t > (scalar)0.5) ? weight : (real)0);
    /* A row without weight does not count, even where its loss or gradient is not finite. */
    const real total = weight != 0 ? loss_value(stage->code, y, t, p + 2) * (weight * scale) : (real)0;
    store_private(weight != 0 ? loss_gradient(stage->code, y, t, p + 2) * (weight * scale) : (real)0, gradients);
    for (int r = 0; r < rows; r++)
        store(LANES < 1 ? (real)gradients[r] : (real)0, step->workspace + stage->target + at + r * WIDTH);
    store_losses(step, stage, tile_number, lane_sum(total), lane_sum(right));
}
#endif

TILE_FUNCTION loss_elementwise_tile(const Step *step, const global Stage *stage, int tile_number) {
    const int batch = step->run->batch_size, columns = stage->outputs, vectors = (columns + WIDTH - 1) / WIDTH;
#if ROWS <= WIDTH
    if (columns == 1 && stage->activation == 0) {
        loss_of_one_column(step, stage, tile_number);
        return;
    }
#endif
    const global scalar *p = step->constants + stage->constants;
    const scalar scale = p[0], threshold = p[1];
    const bool one_of_many = step->run->class_codes || isnan(threshold);
    real total = 0, total_correct = 0;
    scalar total_hits = 0;
    for (int n = tile_number * ROWS; n < SMALLER((tile_number + 1) * ROWS, step->rows); n++) {
        const size_t row = sample_row(step, n);
        const scalar weight = step->run->weighted ? step->sample_weight[row] : (scalar)1;
        real maxima = -INFINITY, target_maxima = -INFINITY;
        for (int j = 0; j < vectors; j++) {
            const mask inside = LANES < columns - j * WIDTH;
            const size_t at = row_vector(n, j, batch, columns);
            const real y = load(step->workspace + stage->value + at);
            const real t = inside ? load_target(step, row, j * WIDTH) : (real)0;
            real gradient = loss_gradient(stage->code, y, t, p + 2) * (weight * scale);
            through_activation(step, stage, at, &gradient);
            maxima = LARGER(maxima, (inside ? y : (real)(-INFINITY)));
            target_maxima = LARGER(target_maxima, (inside && t > (scalar)0.5 ? y : (real)(-INFINITY)));
            /* A row without weight does not count, even where its loss or gradient is not finite. */
            store(inside && weight != 0 ? gradient : (real)0, step->workspace + stage->target + at);
            if (weight != 0) {
                total += inside ? loss_value(stage->code, y, t, p + 2) * (weight * scale) : (real)0;
                total_correct += inside && ((y > threshold) == (t > (scalar)0.5)) ? (real)(weight / columns) : (real)0;
            }
        }
        if (one_of_many && lane_max(target_maxima) == lane_max(maxima)) total_hits += weight;
    }
    store_losses(step, stage, tile_number, lane_sum(total), one_of_many ? total_hits : lane_sum(total_correct));
}

#if ROWS <= WIDTH
/* Where vector j of row n of a matrix of so many vectors lies; in the first panel without a division. */
#define AT_VECTOR(n, j) (vectors <= SMALLER(2, COLUMNS) ? (size_t)((n) * vectors + (j)) * WIDTH : row_vector(n, j, batch, columns))
/* loss_softmax_tile where the class of each row is known: what there is one of for a row is in the lanes of a vector. The rows
 * have so many vectors, a constant where they are few. */
INLINED void loss_softmax_of_classes(const Step *step, const global Stage *stage, int tile_number, int vectors) {
    const int batch = step->run->batch_size, columns = stage->outputs;
    const int first = tile_number * ROWS, rows = SMALLER(ROWS, step->rows - first);
    const global scalar *values = step->workspace + stage->value;
    global scalar *target = step->workspace + stage->target;
    scalar weights[WIDTH] = {0}, maxima[WIDTH] = {0}, of_classes[WIDTH] = {0}, sums[WIDTH], factors[WIDTH];
    int codes[ROWS];
    for (int r = 0; r < WIDTH; r++) sums[r] = 1;
    for (int r = 0; r < rows; r++) {
        const size_t row = sample_row(step, first + r);
        real maxima_of_row = -INFINITY, sum = 0;
        for (int j = 0; j < vectors; j++) {
            const real x = load(values + AT_VECTOR(first + r, j));
            maxima_of_row = LARGER(maxima_of_row, (LANES < columns - j * WIDTH ? x : (real)(-INFINITY)));
        }
        const scalar largest = lane_max(maxima_of_row);
        for (int j = 0; j < vectors; j++) {
            const size_t at = AT_VECTOR(first + r, j);
            const real e = LANES < columns - j * WIDTH ? exp(load(values + at) - largest) : (real)0;
            sum += e;
            store(e, target + at);
        }
        codes[r] = (int)step->Y[row];
        weights[r] = step->run->weighted ? step->sample_weight[row] : (scalar)1;
        maxima[r] = largest;
        of_classes[r] = values[panel_index(first + r, codes[r], batch, columns)];
        sums[r] = lane_sum(sum);
    }
    const real weight = load_private(weights), largest = load_private(maxima), of_class = load_private(of_classes);
    const real sum = load_private(sums), loss = largest + log(sum) - of_class;
    /* A row without weight does not count, even where its loss or gradient is not finite. */
    const real total = weight != 0 ? weight * loss : (real)0, right = of_class == largest ? weight : (real)0;
    store_private(weight / sum, factors);
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vectors; j++) {
            const size_t at = AT_VECTOR(first + r, j);
            real gradient = load(target + at) * factors[r] - (LANES == codes[r] - j * WIDTH ? (real)weights[r] : (real)0);
            if (stage->activation != 0) through_activation(step, stage, at, &gradient);
            store(LANES < columns - j * WIDTH && weights[r] != 0 ? gradient : (real)0, target + at);
        }
    store_losses(step, stage, tile_number, lane_sum(total), lane_sum(right));
}
#endif

/* Categorical cross-entropy of the softmax of x, stable: log p_j = x_j - max x - log sum_k exp(x_k - max x).
 * value -sum_j t_j log p_j, gradient p_j sum_k t_k - t_j; the exponentials wait where the gradient goes. */
TILE_FUNCTION loss_softmax_tile(const Step *step, const global Stage *stage, int tile_number) {
    const int batch = step->run->batch_size, columns = stage->outputs, vectors = (columns + WIDTH - 1) / WIDTH;
#if ROWS <= WIDTH
    if (step->run->class_codes) {
        if (vectors == 1) loss_softmax_of_classes(step, stage, tile_number, 1);
        else if (vectors == 2) loss_softmax_of_classes(step, stage, tile_number, 2);
        else loss_softmax_of_classes(step, stage, tile_number, vectors);
        return;
    }
#endif
    const global scalar *values = step->workspace + stage->value;
    global scalar *target = step->workspace + stage->target;
    scalar total = 0, total_correct = 0;
    for (int n = tile_number * ROWS; n < SMALLER((tile_number + 1) * ROWS, step->rows); n++) {
        const size_t row = sample_row(step, n);
        const scalar weight = step->run->weighted ? step->sample_weight[row] : (scalar)1;
        real maxima = -INFINITY, sums = 0, target_maxima = -INFINITY, target_sums = 0, losses = 0;
        for (int j = 0; j < vectors; j++) {
            const real x = load(values + row_vector(n, j, batch, columns));
            maxima = LARGER(maxima, (LANES < columns - j * WIDTH ? x : (real)(-INFINITY)));
        }
        const scalar largest = lane_max(maxima);
        for (int j = 0; j < vectors; j++) {
            const size_t at = row_vector(n, j, batch, columns);
            const real e = LANES < columns - j * WIDTH ? exp(load(values + at) - largest) : (real)0;
            sums += e;
            store(e, target + at);
        }
        const scalar sum = lane_sum(sums), log_sum = largest + log(sum);
        scalar loss, target_largest, target_sum;
        if (step->run->class_codes) {
            target_largest = values[panel_index(n, (int)step->Y[row], batch, columns)];
            target_sum = 1;
            loss = log_sum - target_largest;
        } else {
            for (int j = 0; j < vectors; j++) {
                const mask inside = LANES < columns - j * WIDTH;
                const real x = load(values + row_vector(n, j, batch, columns));
                const real t = inside ? load_target(step, row, j * WIDTH) : (real)0;
                target_maxima = LARGER(target_maxima, (t > (scalar)0.5 ? x : (real)(-INFINITY)));
                target_sums += t;
                losses += inside ? t * (log_sum - x) : (real)0;
            }
            target_largest = lane_max(target_maxima);
            target_sum = lane_sum(target_sums);
            loss = lane_sum(losses);
        }
        const scalar scale = weight * target_sum / sum;
        for (int j = 0; j < vectors; j++) {
            const size_t at = row_vector(n, j, batch, columns);
            real gradient = load(target + at) * scale - load_target(step, row, j * WIDTH) * weight;
            through_activation(step, stage, at, &gradient);
            store(LANES < columns - j * WIDTH && weight != 0 ? gradient : (real)0, target + at);
        }
        if (weight != 0) {
            total += weight * loss;
            total_correct += target_largest == largest ? weight : (scalar)0;
        }
    }
    store_losses(step, stage, tile_number, total, total_correct);
}

TILE_KERNEL(loss_elementwise)
TILE_KERNEL(loss_softmax)
