/* The three products of a dense layer, y = f(x W + b), one tile a call.
 *
 * forward          y  = f(x W + b)                the bias is the last row of W
 * backward input   dx = (dz W') * g'(x)           g: the activation that made x; W' kept beside W
 * backward weights dW = x' dz + alpha W           followed by the optimizer's update, or stored
 *
 * where dz is the gradient before the activation f. Tiles of a stage: row tiles run fastest, so that
 * the right operand's panel stays in cache.
 */

/* The sum over the left operand's columns: tile = left[n0 .. n0 + ROWS] times the panel b, and `first`. Rows past the last
 * repeat it, and are not stored. */
static inline void multiply_rows(const Step *step, const global Stage *stage, int n0, const global scalar *b,
                                 const global scalar *first, int vectors, real *tile) {
    const int batch = step->run->batch_size, last = step->rows - 1, k = stage->inputs;
    const bool is_x = stage->source < 0;
    const global scalar *left = is_x ? step->X : step->workspace + stage->source;
    const int panel = is_x ? k : PANEL, padded = is_x ? k : (k + WIDTH - 1) / WIDTH * WIDTH;
    size_t row[ROWS];
    for (int r = 0; r < ROWS; r++) row[r] = is_x ? x_row(step, SMALLER(n0 + r, last)) : SMALLER(n0 + r, last);
#if ROWS <= WIDTH
    if (stage->outputs == 1) {
        multiply_column(left, row, k, panel, padded, batch, b, first, tile);
        return;
    }
#endif
    multiply(vectors, left, row, k, panel, padded, batch, b, first, tile);
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
    multiply_rows(step, stage, n0, b, stage->bias ? b + (size_t)stage->inputs * width : 0, vectors, tile);

    const int count = SMALLER(ROWS, step->rows - n0) * vectors;
    global scalar *workspace = step->workspace + (size_t)o0 * batch + (size_t)n0 * width;
    if (stage->saved >= 0) store_tile(tile, count, workspace + stage->saved);
    activation_stored(stage->code, count, tile, workspace + stage->target, step->constants + stage->constants);
}

TILE_FUNCTION dense_backward_input_tile(const Step *step, const global Stage *stage, int tile_number) {
    const int batch = step->run->batch_size;
    const int row_tiles = (batch + ROWS - 1) / ROWS;
    const int n0 = tile_number % row_tiles * ROWS, o0 = tile_number / row_tiles * PANEL;
    if (n0 >= step->rows) return;
    const int width = panel_width(o0, stage->outputs), vectors = width / WIDTH;
    const global scalar *b = step->parameters + stage->weights + (size_t)o0 * stage->inputs;
    real tile[ROWS * COLUMNS];
    multiply_rows(step, stage, n0, b, 0, vectors, tile);

    const int rows = SMALLER(ROWS, step->rows - n0), count = rows * vectors;
    global scalar *workspace = step->workspace + (size_t)o0 * batch + (size_t)n0 * width;
    const global scalar *y = workspace + stage->value, *x = stage->saved >= 0 ? workspace + stage->saved : y;
    activation_derivative_stored(stage->code, count, tile, x, y, workspace + stage->target, step->constants + stage->constants);
    clear_stored_padding(workspace + stage->target, rows, vectors, stage->outputs - o0);
}

/* The sum over rows [rows_begin, rows_end) of the batch: ROWS rows of the gradient of W, without the penalty, before the
 * division by the step's weight. */
static inline void weight_gradient(const Step *step, const global Stage *stage, int i0, int o0, int vectors,
                                   real *tile) {
    const int batch = step->run->batch_size, begin = stage->rows_begin, end = SMALLER(stage->rows_end, step->rows);
    const global scalar *dz = step->workspace + stage->gradient + (size_t)o0 * batch
                              + (size_t)begin * vectors * WIDTH;
    if (i0 >= stage->inputs) { /* the bias: sum over the rows */
        for (int j = 0; j < vectors; j++) tile[j] = 0;
        for (int n = begin; n < end; n++, dz += vectors * WIDTH)
            for (int j = 0; j < vectors; j++) tile[j] += load(dz + j * WIDTH);
    } else {
        const bool is_x = stage->source < 0, ordered = is_x && step->run->ordered;
        const int first = step->first + begin, panel = i0 / PANEL * PANEL;
        const int stride = is_x ? stage->inputs : panel_width(i0, stage->inputs);
        const global int *index = ordered ? step->x_order + first : 0;
        const global scalar *x = is_x ? step->X + i0 + (ordered ? 0 : (size_t)first * stride)
                                      : step->workspace + stage->source + (size_t)panel * batch + (size_t)begin * stride
                                            + (i0 - panel);
#if ROWS <= WIDTH
        if (stage->outputs == 1) {
            multiply_transposed_column(x, index, stride, dz, end - begin, tile);
            return;
        }
#endif
        multiply_transposed(vectors, x, index, stride, dz, end - begin, tile);
    }
}

/* Update a tile of weights by its gradient, and their transpose if it is kept. Padded columns stay zero whatever the
 * optimizer does with a zero gradient. */
static inline void update_tile(const Step *step, const global Stage *stage, WeightTile w, real *tile) {
    const int count = w.rows * w.vectors, stride_of_states = step->run->parameter_count;
    global scalar *weights = step->parameters + stage->weights + w.at;
    optimizer_update(stage->code, count, tile, weights, stride_of_states, step->scalars);
    clear_padding(tile, w.rows, w.vectors, stage->outputs - w.o0);
    store_tile(tile, count, weights);
    if (stage->transposed < 0 || w.is_bias) return;
    const scalar *values = (const scalar *)tile;
    if (stage->channels < stage->inputs) { /* a row of W' for each tap and output */
        const int columns = SMALLER(w.width, stage->outputs - w.o0);
        for (int r = 0; r < w.rows; r++) {
            const int tap = (w.row + r) / stage->channels, c = (w.row + r) % stage->channels;
            const int rows = stage->inputs / stage->channels * stage->outputs;
            global scalar *t = step->parameters + stage->transposed
                               + panel_index(tap * stage->outputs + w.o0, c, rows, stage->channels);
            for (int o = 0; o < columns; o++) t[o * panel_width(c, stage->channels)] = values[r * w.width + o];
        }
    } else {
        const int columns = SMALLER(w.width, stage->outputs - w.o0), stride = panel_width(w.row, stage->inputs);
        global scalar *t = step->parameters + stage->transposed
                           + panel_index(w.o0, w.row, stage->outputs, stage->inputs);
        for (int o = 0; o < columns; o++)
            for (int r = 0; r < w.rows; r++) t[(size_t)o * stride + r] = values[r * w.width + o];
    }
}

/* What follows the sum over the rows: penalties, division by the step's weight, then the update, or with `target` the
 * gradient and its squared norm are stored for clipping. constants: [alpha, l1] of alpha / 2 W^2 + l1 |W|. */
static inline void apply_gradient(const Step *step, const global Stage *stage, WeightTile w, int tile_number,
                                  real *tile) {
    const scalar alpha = step->constants[stage->constants], l1 = step->constants[stage->constants + 1];
    const scalar scale = step->weight > 0 ? 1 / step->weight : 0;
    const int count = w.rows * w.vectors;
    const global scalar *weights = step->parameters + stage->weights + w.at;
    if (stage->losses >= 0) {
        real squares = 0, sizes = 0;
        if (!w.is_bias)
            for (int i = 0; i < count; i++) {
                const real v = load(weights + i * WIDTH);
                squares += v * v;
                tile[i] += alpha * v;
            }
        if (!w.is_bias && l1 != 0)
            for (int i = 0; i < count; i++) {
                const real v = load(weights + i * WIDTH);
                sizes += fabs(v);
                tile[i] += l1 * sign(v);
            }
        step->losses[stage->losses + 2 * tile_number] = alpha / 2 * lane_sum(squares) + l1 * lane_sum(sizes);
        step->losses[stage->losses + 2 * tile_number + 1] = 0;
    }
    for (int i = 0; i < count; i++) tile[i] *= scale;
    if (stage->target >= 0) {
        real norm = 0;
        for (int i = 0; i < count; i++) norm += tile[i] * tile[i];
        step->workspace[stage->value + tile_number] = lane_sum(norm);
        store_tile(tile, count, step->workspace + stage->target + w.at);
    } else {
        update_tile(step, stage, w, tile);
    }
}

/* Where a batch is cut into parts, each part's sum is stored at `target`, to be added up. */
TILE_FUNCTION dense_backward_weights_tile(const Step *step, const global Stage *stage, int tile_number) {
    const WeightTile w = weight_tile(stage, tile_number);
    real tile[ROWS * COLUMNS];
    weight_gradient(step, stage, w.row, w.o0, w.vectors, tile);
    if (stage->parts) {
        store_tile(tile, w.rows * w.vectors, step->workspace + stage->target + w.at);
    } else {
        apply_gradient(step, stage, w, tile_number, tile);
    }
}

/* Add up the sums of the parts of a batch, in their order. */
TILE_FUNCTION dense_add_parts_tile(const Step *step, const global Stage *stage, int tile_number) {
    const WeightTile w = weight_tile(stage, tile_number);
    const global scalar *part = step->workspace + stage->source + w.at;
    real tile[ROWS * COLUMNS];
    for (int i = 0; i < w.rows * w.vectors; i++) {
        tile[i] = load(part + i * WIDTH);
        for (int k = 1; k < stage->parts; k++) tile[i] += load(part + (size_t)k * stage->part_stride + i * WIDTH);
    }
    apply_gradient(step, stage, w, tile_number, tile);
}

/* Update a tile of weights from its stored gradient at `source`, times the clipping factor at `value`. */
TILE_FUNCTION dense_update_tile(const Step *step, const global Stage *stage, int tile_number) {
    const WeightTile w = weight_tile(stage, tile_number);
    const global scalar *gradient = step->workspace + stage->source + w.at;
    const scalar factor = step->workspace[stage->value];
    real tile[ROWS * COLUMNS];
    for (int i = 0; i < w.rows * w.vectors; i++) tile[i] = factor * load(gradient + i * WIDTH);
    update_tile(step, stage, w, tile);
}

/* Independent stages share a launch, their tiles one after the other. The stage is the same for all
 * work-items of a group at any time: Intel's compiler miscompiles a stage that differs among them. */
#define TILE_KERNEL_OF_MANY(NAME, FUNCTION_OF_TILE)                                               \
KERNEL NAME(STEP_ARGUMENTS, int stage, int stage_end) {                                      \
    BEGIN_STEP;                                                                                   \
    int tile = get_global_id(0);                                                                  \
    for (; stage < stage_end; stage++) {                                                          \
        const int tiles = stages[stage].tiles;                                                    \
        if (tile >= 0 && tile < tiles) FUNCTION_OF_TILE(&step, stages + stage, tile);             \
        tile -= tiles;                                                                            \
    }                                                                                             \
}

TILE_KERNEL(dense_forward)
TILE_KERNEL(dense_backward_input)
TILE_KERNEL_OF_MANY(dense_backward_weights, dense_backward_weights_tile)
TILE_KERNEL_OF_MANY(dense_add_parts, dense_add_parts_tile)
TILE_KERNEL_OF_MANY(dense_update, dense_update_tile)
