/* Activations and dropout as layers of their own, and SoftMax, for a block of rows.
 *
 * 2^log_lanes work-items share a row. Backward multiplies by the layer's own derivative and by that of the activation
 * that made its input, if one was fused there.
 */

/* Run STATEMENT for each vector of a block: row n, of a pixel where the tensor has some, vector j, place `at`. */
#define FOR_VECTORS(STATEMENT)                                                                    \
    const int vectors = padded(stage->outputs) / WIDTH, pixels = stage->pixels;                   \
    for (int v = ITEM; v < count * pixels * vectors; v += ITEMS) {                                \
        const int n = n0 * pixels + v / vectors, j = v % vectors;                                 \
        const size_t at = ((size_t)n * vectors + j) * WIDTH;                                      \
        STATEMENT;                                                                                \
    }

static inline void activation_forward_rows(STEP step, STAGE stage, int n0, int count) {
    global scalar *workspace = step->workspace;
    FOR_VECTORS({
        const real x = load(input_row(step, stage, n, stage->outputs) + j * WIDTH);
        if (stage->saved >= 0) store(x, workspace + stage->saved + at);
        const real y = activated(stage->code, x, step->constants + stage->constants);
        store(without_padding(y, stage->outputs - j * WIDTH), workspace + stage->target + at);
    })
}

/* target = gradient * f'(value, saved): through an activation to its input. */
static inline void activation_backward_rows(STEP step, STAGE stage, int n0, int count) {
    global scalar *workspace = step->workspace;
    FOR_VECTORS({
        Activated y;
        load_activated(step, stage, at, &y);
        const real gradient = through_derivative(stage->code, load(workspace + stage->gradient + at), y.before, y.value,
                                                 step->constants + stage->constants);
        store(without_padding(gradient, stage->outputs - j * WIDTH), workspace + stage->target + at);
    })
}

/* The factors of the vector at a row and column. */
static inline real dropout_factor(STEP step, STAGE stage, int n, int column) {
    return dropout_factors(step->constants[stage->constants], step->run->seed, stage->id,
                           (uint)(step->run->share_begin + n) * (uint)stage->outputs + column, step->number);
}

static inline void dropout_forward_rows(STEP step, STAGE stage, int n0, int count) {
    FOR_VECTORS({
        const real x = load(input_row(step, stage, n, stage->outputs) + j * WIDTH);
        store(x * dropout_factor(step, stage, n, j * WIDTH), step->workspace + stage->target + at);
    })
}

static inline void dropout_backward_rows(STEP step, STAGE stage, int n0, int count) {
    FOR_VECTORS({
        const real gradient = load(step->workspace + stage->gradient + at);
        store(gradient * dropout_factor(step, stage, n, j * WIDTH), step->workspace + stage->target + at);
    })
}

/* What functions begin with whose work-items share rows: `lane` has vectors lane, lane + lanes, ... below `end` of row r. */
#define SHARE_ROWS                                                                                \
    const int columns = stage->outputs, vectors = padded(columns) / WIDTH, log_lanes = stage->log_lanes; \
    const int lanes = 1 << log_lanes, lane = ITEM & (lanes - 1), r = ITEM >> log_lanes, end = r < count ? vectors : 0

/* y_j = exp(x_j - max x) / sum_k exp(x_k - max x) */
FUNCTION void softmax_forward_rows(STEP step, STAGE stage, int n0, int count,
                                   local scalar *scratch) {
    SHARE_ROWS;
    const global scalar *x = input_row(step, stage, n0 + SMALLER(r, count - 1), columns);
    global scalar *y = step->workspace + stage->target + (size_t)(n0 + r) * vectors * WIDTH;
    scalar largest = -INFINITY, total = 0;
    for (int j = lane; j < end; j += lanes) {
        const scalar here = lane_max(LANES < columns - j * WIDTH ? load(x + j * WIDTH) : (real)(-INFINITY));
        largest = LARGER(largest, here);
    }
    largest = largest_over_lanes(largest, log_lanes, scratch);
    for (int j = lane; j < end; j += lanes) {
        const real e = LANES < columns - j * WIDTH ? exp(load(x + j * WIDTH) - largest) : (real)0;
        total += lane_sum(e);
        store(e, y + j * WIDTH);
    }
    total = sum_over_lanes(total, log_lanes, scratch);
    for (int j = lane; j < end; j += lanes) store(load(y + j * WIDTH) / total, y + j * WIDTH);
}

/* dx_j = y_j (dy_j - sum_k dy_k y_k) */
FUNCTION void softmax_backward_rows(STEP step, STAGE stage, int n0, int count,
                                    local scalar *scratch) {
    SHARE_ROWS;
    global scalar *workspace = step->workspace + (size_t)(n0 + r) * vectors * WIDTH;
    scalar projection = 0;
    for (int j = lane; j < end; j += lanes)
        projection += lane_sum(load(workspace + stage->gradient + j * WIDTH) * load(workspace + stage->value + j * WIDTH));
    projection = sum_over_lanes(projection, log_lanes, scratch);
    for (int j = lane; j < end; j += lanes) {
        const real y = load(workspace + stage->value + j * WIDTH);
        store(y * (load(workspace + stage->gradient + j * WIDTH) - projection), workspace + stage->target + j * WIDTH);
    }
}
