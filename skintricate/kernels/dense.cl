/* The three products of a dense layer, y = f(x W + b), one tile a call.
 *
 * forward          y  = f(x W + b)                the bias is the last row of W
 * backward input   dx = (dz W') * g'(x)           g: the activation that made x; W' kept beside W
 * backward weights dW = x' dz + alpha W           followed by the optimizer's update, or stored
 *
 * where dz is the gradient before the activation f. Tiles of a stage: row tiles run fastest, so that
 * the right operand's panel stays in cache.
 */

/* The sum over the left operand's columns: tile += left[n0 .. n0 + ROWS] times the panel b. */
static inline void multiply_rows(const Step *step, const global Stage *stage, int n0, const global scalar *b,
                                 int vectors, real *tile) {
    const int batch = step->run->batch_size, last = step->rows - 1;
    const global scalar *a[ROWS];
    if (stage->source < 0) {
        for (int r = 0; r < ROWS; r++)
            a[r] = step->X + sample_row(step, min(n0 + r, last)) * stage->inputs;
        multiply(vectors, a, b, stage->inputs, tile);
        return;
    }
    const global scalar *left = step->workspace + stage->source;
    for (int k = 0; k < stage->inputs; k += PANEL) {
        const int width = panel_width(k, stage->inputs), count = min(PANEL, stage->inputs - k);
        for (int r = 0; r < ROWS; r++)
            a[r] = left + (size_t)k * batch + min(n0 + r, last) * width;
        multiply(vectors, a, b, count, tile);
        b += (size_t)count * vectors * WIDTH;
    }
}

TILE_FUNCTION dense_forward_tile(const Step *step, const global Stage *stage, int tile_number) {
    const int batch = step->run->batch_size;
    const int row_tiles = (batch + ROWS - 1) / ROWS;
    const int n0 = tile_number % row_tiles * ROWS, o0 = tile_number / row_tiles * PANEL;
    if (n0 >= step->rows) return;
    const int width = panel_width(o0, stage->outputs), vectors = width / WIDTH;
    const int weight_rows = stage->inputs + stage->bias;
    const global scalar *b = step->parameters + stage->weights + (size_t)o0 * weight_rows;
    real tile[ROWS * COLUMNS];
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < vectors; j++)
            tile[r * vectors + j] = stage->bias ? load(b + (size_t)stage->inputs * width + j * WIDTH) : (real)0;
    multiply_rows(step, stage, n0, b, vectors, tile);

    const int count = min(ROWS, step->rows - n0) * vectors;
    const size_t at = (size_t)o0 * batch + (size_t)n0 * width;
    const global scalar *p = step->constants + stage->constants;
    for (int i = 0; i < count; i++) {
        if (stage->saved >= 0) store(tile[i], step->workspace + stage->saved + at + i * WIDTH);
        store(activation_value(stage->code, tile[i], p), step->workspace + stage->target + at + i * WIDTH);
    }
}

TILE_FUNCTION dense_backward_input_tile(const Step *step, const global Stage *stage, int tile_number) {
    const int batch = step->run->batch_size;
    const int row_tiles = (batch + ROWS - 1) / ROWS;
    const int n0 = tile_number % row_tiles * ROWS, o0 = tile_number / row_tiles * PANEL;
    if (n0 >= step->rows) return;
    const int width = panel_width(o0, stage->outputs), vectors = width / WIDTH;
    const global scalar *b = step->parameters + stage->weights + (size_t)o0 * stage->inputs;
    real tile[ROWS * COLUMNS];
    for (int i = 0; i < ROWS * vectors; i++) tile[i] = 0;
    multiply_rows(step, stage, n0, b, vectors, tile);

    const int count = min(ROWS, step->rows - n0) * vectors;
    const size_t at = (size_t)o0 * batch + (size_t)n0 * width;
    const global scalar *p = step->constants + stage->constants;
    for (int i = 0; i < count; i++) {
        const real y = load(step->workspace + stage->value + at + i * WIDTH);
        const real x = stage->saved >= 0 ? load(step->workspace + stage->saved + at + i * WIDTH) : y;
        const real gradient = tile[i] * activation_derivative(stage->code, x, y, p);
        store(without_padding(gradient, stage->outputs - o0 - i % vectors * WIDTH),
              step->workspace + stage->target + at + i * WIDTH);
    }
}

/* Update `vectors` vectors of one row of the weights by their gradient; return the sum of squares of
 * the weights before. Padded columns stay zero whatever the optimizer does with a zero gradient. */
static inline scalar update_row(const Step *step, const global Stage *stage, int row, int o0, int vectors,
                                const real *gradient) {
    const int weight_rows = stage->inputs + stage->bias, width = vectors * WIDTH;
    const size_t at = stage->weights + (size_t)o0 * weight_rows + (size_t)row * width;
    const bool is_bias = row == stage->inputs;
    scalar squares = 0;
    for (int j = 0; j < vectors; j++) {
        const int left = stage->outputs - o0 - j * WIDTH;
        global scalar *w = step->parameters + at + j * WIDTH;
        const real before = load(w);
        if (!is_bias) squares += lane_sum(before * before);
        real after = optimizer_update(stage->code, before, gradient[j], w + step->run->parameter_count,
                                      step->run->parameter_count, step->scalars);
        after = without_padding(after, left);
        store(after, w);
        if (stage->transposed >= 0 && !is_bias) {
            scalar lanes[WIDTH];
            store_private(after, lanes);
            global scalar *t = step->parameters + stage->transposed
                               + panel_index(o0 + j * WIDTH, row, stage->outputs, stage->inputs);
            const int stride = panel_width(row, stage->inputs);
            for (int o = 0; o < min(left, WIDTH); o++) t[(size_t)o * stride] = lanes[o];
        }
    }
    return squares;
}

/* The gradient of the tile's rows of W, without the penalty, before the division by the step's weight. */
static inline void weight_gradient(const Step *step, const global Stage *stage, int i0, int o0, int vectors,
                                   real *tile) {
    const int batch = step->run->batch_size;
    const global scalar *dz = step->workspace + stage->gradient + (size_t)o0 * batch;
    if (i0 >= stage->inputs) { /* the bias: sum over the rows */
        for (int j = 0; j < vectors; j++) tile[j] = 0;
        for (int n = 0; n < step->rows; n++)
            for (int j = 0; j < vectors; j++) tile[j] += load(dz + ((size_t)n * vectors + j) * WIDTH);
    } else if (stage->source < 0) {
        const bool ordered = step->run->ordered;
        const global scalar *x = step->X + i0 + (ordered ? 0 : (size_t)step->first * stage->inputs);
        multiply_transposed(vectors, x, ordered ? step->order + step->first : 0, stage->inputs, dz, step->rows, tile);
    } else {
        const int width = panel_width(i0, stage->inputs), begin = i0 / PANEL * PANEL;
        const global scalar *x = step->workspace + stage->source + (size_t)begin * batch + (i0 - begin);
        multiply_transposed(vectors, x, 0, width, dz, step->rows, tile);
    }
}

/* Tiles: ROWS rows of W each, the bias a tile of its own at the end of every panel.
 * constants: [alpha, store]; with `store` the gradient goes to the workspace at `target` for clipping. */
TILE_FUNCTION dense_backward_weights_tile(const Step *step, const global Stage *stage, int tile_number) {
    const int row_tiles = (stage->inputs + ROWS - 1) / ROWS + stage->bias;
    const int t = tile_number % row_tiles, o0 = tile_number / row_tiles * PANEL;
    const bool is_bias = stage->bias && t == row_tiles - 1;
    const int i0 = is_bias ? stage->inputs : t * ROWS;
    const int rows = is_bias ? 1 : min(ROWS, stage->inputs - i0);
    const int width = panel_width(o0, stage->outputs), vectors = width / WIDTH;
    const int weight_rows = stage->inputs + stage->bias;
    const scalar alpha = step->constants[stage->constants];
    const scalar scale = step->weight > 0 ? 1 / step->weight : 0;

    real tile[ROWS * COLUMNS];
    weight_gradient(step, stage, i0, o0, vectors, tile);
    const size_t at = (size_t)o0 * weight_rows + (size_t)i0 * width;
    for (int i = 0; i < rows * vectors; i++) {
        const real penalty = is_bias ? (real)0 : alpha * load(step->parameters + stage->weights + at + i * WIDTH);
        tile[i] = (tile[i] + penalty) * scale;
    }
    scalar squares = 0;
    if (stage->target >= 0) {
        scalar norm = 0;
        for (int i = 0; i < rows * vectors; i++) {
            store(tile[i], step->workspace + stage->target + at + i * WIDTH);
            norm += lane_sum(tile[i] * tile[i]);
            const real w = load(step->parameters + stage->weights + at + i * WIDTH);
            if (!is_bias) squares += lane_sum(w * w);
        }
        step->workspace[stage->value + tile_number] = norm;
    } else {
        for (int r = 0; r < rows; r++) squares += update_row(step, stage, i0 + r, o0, vectors, tile + r * vectors);
    }
    if (stage->losses >= 0) {
        step->losses[stage->losses + 2 * tile_number] = alpha * squares / 2;
        step->losses[stage->losses + 2 * tile_number + 1] = 0;
    }
}

/* Update a tile of weights from its stored gradient at `source`, times the clipping factor at `value`. */
TILE_FUNCTION dense_update_tile(const Step *step, const global Stage *stage, int tile_number) {
    const int weight_rows = stage->inputs + stage->bias;
    const int row_tiles = (weight_rows + ROWS - 1) / ROWS;
    const int i0 = tile_number % row_tiles * ROWS, o0 = tile_number / row_tiles * PANEL;
    const int width = panel_width(o0, stage->outputs), vectors = width / WIDTH;
    const scalar factor = step->workspace[stage->value];
    for (int row = i0; row < min(i0 + ROWS, weight_rows); row++) {
        const size_t at = (size_t)o0 * weight_rows + (size_t)row * width;
        real gradient[COLUMNS];
        for (int j = 0; j < vectors; j++)
            gradient[j] = factor * load(step->workspace + stage->source + at + j * WIDTH);
        update_row(step, stage, row, o0, vectors, gradient);
    }
}

/* Independent stages share a launch, their tiles one after the other. The stage is the same for all
 * work-items of a group at any time: Intel's compiler miscompiles a stage that differs among them. */
#define TILE_KERNEL_OF_MANY(NAME)                                                                 \
KERNEL NAME(STEP_ARGUMENTS, int stage, int stage_end) {                                      \
    BEGIN_STEP;                                                                                   \
    int tile = get_global_id(0);                                                                  \
    for (; stage < stage_end; stage++) {                                                          \
        const int tiles = stages[stage].tiles;                                                    \
        if (tile >= 0 && tile < tiles) NAME##_tile(&step, stages + stage, tile);                  \
        tile -= tiles;                                                                            \
    }                                                                                             \
}

TILE_KERNEL(dense_forward)
TILE_KERNEL(dense_backward_input)
TILE_KERNEL_OF_MANY(dense_backward_weights)
TILE_KERNEL_OF_MANY(dense_update)
