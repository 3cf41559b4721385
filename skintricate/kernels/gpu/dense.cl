/* What follows the sums of a dense layer, y = f(x W + b), vector by vector. W has I rows and then the bias.
 *
 * forward          y  = f(x W + b)
 * backward input   dx = (dz W') * g'(x)           g: the activation that made x
 * backward weights dW = x' dz + alpha W           the bias: x has a column of ones
 */

/* Vector (n, o) of the output, before the activation. */
static inline void finish_forward(STEP step, STAGE stage, int n, int o, real x) {
    const int width = padded(stage->outputs);
    if (n >= step->rows * stage->pixels || o >= width) return;
    const size_t at = (size_t)n * width + o;
    if (stage->saved >= 0) store(x, step->workspace + stage->saved + at);
    x = activated(stage->code, x, step->constants + stage->constants);
    store(without_padding(x, stage->outputs - o), step->workspace + stage->target + at);
}

/* Vector (n, i) of the input's gradient, before the derivative. */
static inline void finish_input(STEP step, STAGE stage, int n, int i, real x, const Activated *y) {
    const int width = padded(stage->outputs);
    if (n >= step->rows * stage->pixels || i >= width) return;
    x = through_derivative(stage->code, x, y->before, y->value, step->constants + stage->constants);
    store(without_padding(x, stage->outputs - i), step->workspace + stage->target + (size_t)n * width + i);
}

/* The bias of columns o .. of the output; zero where there is none, and in other stages. */
static inline real bias_of(STEP step, STAGE stage, int o) {
    const int width = padded(stage->outputs);
    if (!stage->bias || o >= width) return 0;
    return load(step->parameters + stage->weights + (size_t)stage->inputs * width + o);
}

/* What finishing vector (n, column) of an input's gradient needs. */
static inline void load_for_input(STEP step, STAGE stage, int n, int column, Activated *y) {
    const int width = padded(stage->outputs);
    if (n < step->rows * stage->pixels && column < width) load_activated(step, stage, (size_t)n * width + column, y);
}

static inline void finish_rows(STEP step, STAGE stage, int n, int column, real x) {
    if (stage->kind == DENSE_FORWARD) {
        finish_forward(step, stage, n, column, x);
    } else {
        Activated y = {0, 0};
        load_for_input(step, stage, n, column, &y);
        finish_input(step, stage, n, column, x, &y);
    }
}

/* Store vector (i, o) of the weights, and of their transpose if it is kept. Padded columns stay zero whatever the optimizer
 * does with a zero gradient. */
static inline void store_weights(STEP step, STAGE stage, int i, int o, real w) {
    w = without_padding(w, stage->outputs - o);
    store(w, step->parameters + stage->weights + (size_t)i * padded(stage->outputs) + o);
    if (stage->transposed >= 0 && i < stage->inputs) {
        const int width = padded(stage->channels), tap = i / stage->channels;
        global scalar *t = step->parameters + stage->transposed + (size_t)(tap * stage->outputs + o) * width
                           + i % stage->channels;
        for (int q = 0; q < WIDTH; q++)
            if (o + q < stage->outputs) t[(size_t)q * width] = LANE(w, q);
    }
}

/* Update vector (i, o) of the weights by its gradient. */
static inline void update_weights(STEP step, STAGE stage, int i, int o, real gradient) {
    global scalar *weights = step->parameters + stage->weights + (size_t)i * padded(stage->outputs) + o;
    store_weights(step, stage, i, o, updated(stage->code, gradient, weights, step->run->parameter_count, step->scalars));
}

/* What a tile sums on its way: squares of weights, for the penalty, and of gradients, for clipping. */
typedef struct {
    scalar penalty, gradients;
} Squares;

/* A gradient of weights w in row i, with the penalty's, divided by the step's weight. constants: [alpha, l1]. */
static inline real with_penalty(STEP step, STAGE stage, int i, real w, real gradient, Squares *squares) {
    if (stage->losses >= 0 && i < stage->inputs) {
        const scalar alpha = step->constants[stage->constants], l1 = step->constants[stage->constants + 1];
        squares->penalty += alpha * lane_sum(w * w) / 2;
        gradient += alpha * w;
        if (l1 != 0) {
            squares->penalty += l1 * lane_sum(fabs(w));
            gradient += l1 * sign(w);
        }
    }
    return gradient * (step->weight > 0 ? 1 / step->weight : (scalar)0);
}

static inline void store_for_clipping(STEP step, STAGE stage, size_t at, real gradient, Squares *squares) {
    squares->gradients += lane_sum(gradient * gradient);
    store(gradient, step->workspace + stage->target + at);
}

/* What follows the sum over the rows for vector (i, o): penalty, division by the step's weight, then the update, or
 * with `target` the gradient is stored for clipping. */
static inline void apply_gradient(STEP step, STAGE stage, int i, int o, real gradient,
                                  Squares *squares) {
    const size_t at = (size_t)i * padded(stage->outputs) + o;
    const real w = stage->losses >= 0 && i < stage->inputs ? load(step->parameters + stage->weights + at) : (real)0;
    gradient = with_penalty(step, stage, i, w, gradient, squares);
    if (stage->target >= 0) store_for_clipping(step, stage, at, gradient, squares);
    else update_weights(step, stage, i, o, gradient);
}

/* The parts of a batch that a stage sums apart, each at a place of its own. Where batches have many rows, its tiles are those of
 * all parts, one after another; else each part is a stage. */
#ifdef MANY_ROWS
static inline int parts_of(STAGE stage) { return LARGER(stage->parts, 1); }
#else
static inline int parts_of(STAGE stage) { return 1; }
#endif
static inline int tiles_of_part(STAGE stage) { return stage->tiles / parts_of(stage); }
static inline int part_of_tile(STAGE stage, int tile) { return parts_of(stage) == 1 ? 0 : tile / tiles_of_part(stage); }
/* Rows [begin, end) of a part. */
static inline int begin_of_part(STAGE stage, int part) {
    const int rows = stage->rows_end - stage->rows_begin;
    return stage->rows_begin + part * ((rows + parts_of(stage) - 1) / parts_of(stage));
}
static inline int end_of_part(STEP step, STAGE stage, int part) {
    const int end = SMALLER(stage->rows_end, step->rows);
    return parts_of(stage) == 1 ? end : SMALLER(end, begin_of_part(stage, part + 1));
}

/* Vector (i, o) of a part's sum of gradients, which is stored, to be added up. */
static inline void store_part(STEP step, STAGE stage, int part, int i, int o, real gradient) {
    const int width = padded(stage->outputs);
    global scalar *sums = step->workspace + stage->target + (size_t)part * stage->part_stride;
    if (i < stage->inputs + stage->bias && o < width) store(gradient, sums + (size_t)i * width + o);
}
/* The same, or the whole sum, which ends in the update. */
static inline void finish_part(STEP step, STAGE stage, int part, int i, int o, real gradient, Squares *squares) {
    if (stage->parts) store_part(step, stage, part, i, o, gradient);
    else if (i < stage->inputs + stage->bias && o < padded(stage->outputs)) apply_gradient(step, stage, i, o, gradient, squares);
}
/* The two of stages that sum one part. */
static inline void store_gradient(STEP step, STAGE stage, int i, int o, real gradient) {
    store_part(step, stage, 0, i, o, gradient);
}
static inline void finish_weights(STEP step, STAGE stage, int i, int o, real gradient, Squares *squares) {
    finish_part(step, stage, 0, i, o, gradient, squares);
}

/* The sums of a tile's squares. */
static inline void store_squares(STEP step, STAGE stage, int tile, Squares squares, int items,
                                 local scalar *scratch) {
    if (stage->losses >= 0) {
        const scalar total = sum_over_group(squares.penalty, items, scratch);
        if (ITEM == 0) {
            step->losses[stage->losses + 2 * tile] = total;
            step->losses[stage->losses + 2 * tile + 1] = 0;
        }
    }
    if (stage->target >= 0) {
        const scalar total = sum_over_group(squares.gradients, items, scratch);
        if (ITEM == 0) step->workspace[stage->value + tile] = total;
    }
}

/* A tile of weights in the stages below: WEIGHTS_OF_A_TILE of them, one after the other. */
static inline int first_vector(int tile) { return tile * (WEIGHTS_OF_A_TILE / WIDTH); }
static inline int end_vector(STAGE stage, int tile) {
    return SMALLER(first_vector(tile + 1), (stage->inputs + stage->bias) * (padded(stage->outputs) / WIDTH));
}

/* Add up the sums of the parts of a batch, in their order. */
static inline void add_parts(STEP step, STAGE stage, int tile, local scalar *scratch) {
    const int vectors = padded(stage->outputs) / WIDTH;
    const global scalar *part = step->workspace + stage->source;
    Squares squares = {0, 0};
    for (int v = first_vector(tile) + ITEM; v < end_vector(stage, tile); v += ITEMS) {
        real gradient = load(part + (size_t)v * WIDTH);
        for (int k = 1; k < stage->parts; k++) gradient += load(part + (size_t)k * stage->part_stride + (size_t)v * WIDTH);
        apply_gradient(step, stage, v / vectors, v % vectors * WIDTH, gradient, &squares);
    }
    store_squares(step, stage, tile, squares, ITEMS, scratch);
}

/* The factor that scales all gradients of a step to a norm of at most clip_norm. The squared norms of the gradients'
 * tiles lie at `source`; constants: [clip_norm]. A norm that is not finite spoils the weights, so that it shows as
 * divergence. */
static inline void clip_gradients(STEP step, STAGE stage, local scalar *scratch) {
    scalar squares = 0;
    for (int k = ITEM; k < stage->inputs; k += ITEMS) squares += step->workspace[stage->source + k];
    const scalar norm = sqrt(sum_over_group(squares, ITEMS, scratch)), limit = step->constants[stage->constants];
    if (ITEM == 0) step->workspace[stage->target] = isfinite(norm) ? fmin(limit / norm, (scalar)1) : (scalar)NAN;
}

/* Update a tile of weights from its stored gradient at `source`, times the clipping factor at `value`. */
static inline void update_clipped(STEP step, STAGE stage, int tile) {
    const int vectors = padded(stage->outputs) / WIDTH;
    const global scalar *gradient = step->workspace + stage->source;
    const scalar factor = step->workspace[stage->value];
    for (int v = first_vector(tile) + ITEM; v < end_vector(stage, tile); v += ITEMS)
        update_weights(step, stage, v / vectors, v % vectors * WIDTH, factor * load(gradient + (size_t)v * WIDTH));
}
