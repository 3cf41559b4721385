/* Products on NVIDIA's tensor cores by single warps: each makes tiles of WARP_ROWS x WARP_COLUMNS of the result by itself,
 * straight from global memory, whose caches hold a small network, or the narrow matrices of a large one (slices.cl). No
 * local memory, no barrier.
 *
 * What a lane loads is what its fragments need, in vectors: rows of k may be taken in any order, if it is that of both
 * operands, and so may the rows and columns of the result. In 16 steps of k, member t has steps 4 t .. 4 t + 3. Of 32
 * columns of the right operand, group g has columns 4 g .. 4 g + 3, one for each of four fragments, which gives member t
 * columns 8 t .. 8 t + 7 of the result. Where there are no more than 16, it has 2 g and 2 g + 1, of two fragments, and
 * member t columns 4 t .. 4 t + 3. A gradient's rows are those of W, two for each group and fragment.
 *
 * Where a warp has many rows, it takes twice as many at once: less is split, and less is loaded, for each product.
 */
#ifdef WHOLE_NETWORK
#define ROW_FRAGMENTS 2
#else
#define ROW_FRAGMENTS 1
#endif
#define WARP_ROWS (16 * ROW_FRAGMENTS)
#define WARP_COLUMNS 32
#define WARPS (ITEMS / 32)
#define LANE_OF_WARP const int lane = ITEM % 32, group = lane / 4, member = lane % 4
/* Fragments of a lane's sums: those of each fragment of rows are four, two for each 16 columns. */
#define SUMS (4 * ROW_FRAGMENTS)

/* A lane's part of 16 steps of an operand, split: of two fragments. */
typedef struct {
    uint large[8], rest[8];
} LeftPart;
typedef struct {
    uint large[4], rest[4];
} RightPart;

INLINED void split_left(const float *values, LeftPart *part) {
#pragma unroll
    for (int i = 0; i < 8; i++) SPLIT(as_uint(values[i]), part->large[i], part->rest[i])
}

/* Add to the sums of all fragments the products with four steps of so many columns each. */
INLINED void multiply_steps(float4 *sums, const LeftPart *left, const float4 *columns, bool wide) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
        if (j >= 2 && !wide) continue;
        RightPart right;
#pragma unroll
        for (int q = 0; q < 4; q++) SPLIT(as_uint(LANE(columns[q], j)), right.large[q], right.rest[q])
#pragma unroll
        for (int f = 0; f < ROW_FRAGMENTS; f++) MULTIPLY_16_STEPS(sums[4 * f + j], left[f], right)
    }
}

/* Whether a result has more than 16 columns; the first column that a group has of such an operand, and vector u of a
 * lane's four in 16 rows of the result: rows `group` and `group` + 8, two of each. */
static inline bool is_wide(STAGE stage) { return stage->outputs > WARP_COLUMNS / 2; }
static inline int column_of_group(int j0, bool wide) { return j0 + (wide ? 4 : 2) * (ITEM % 32 / 4); }
static inline int column_of_vector(int u, int j0, bool wide) {
    return j0 + (wide ? 8 * (ITEM % 4) + u / 2 % 2 * 4 : 4 * (ITEM % 4) + u / 2 % 2 * 16);
}
INLINED real vector_of_sums(int u, const float4 *sums, bool wide) {
    const float4 *of_row = sums + u / 4 * 4;
    const int first = u % 2 * 2, at = first + u / 2 % 2;
    return wide ? (real)(LANE(of_row[0], at), LANE(of_row[1], at), LANE(of_row[2], at), LANE(of_row[3], at))
                : (real)(LANE(of_row[0], first), LANE(of_row[1], first), LANE(of_row[0], first + 1), LANE(of_row[1], first + 1));
}

/* The columns that a group has of an operand. */
static inline float4 load_columns(const global float *p, bool wide) {
    if (wide) return load(p);
    const float2 pair = *(const global float2 *)p;
    return (float4)(pair.x, pair.y, 0, 0);
}

/* Where a lane finds the operands of a product of rows, and what it has of 16 steps of k. */
typedef struct {
    const global float *rows[2 * ROW_FRAGMENTS], *weights;
    int inputs, width;
} RowOperands;
typedef struct {
    float4 rows[2 * ROW_FRAGMENTS], weights[4];
} RowSteps;

/* The steps from k0 on. `whole` says that all of them are there, `wide` that there are more than 16 columns. All loads are
 * asked for at once: those of columns past the last, which nobody stores, read others. */
INLINED RowSteps load_row_steps(const RowOperands *from, int k0, bool whole, bool wide) {
    const int k = k0 + 4 * (ITEM % 4);
    const bool inside = whole || k < from->inputs;
    RowSteps steps;
#pragma unroll
    for (int i = 0; i < 2 * ROW_FRAGMENTS; i++) steps.rows[i] = load(from->rows[i] + (inside ? k : 0));
#pragma unroll
    for (int q = 0; q < 4; q++) {
        const size_t row = (size_t)(whole ? k + q : SMALLER(k + q, from->inputs - 1)) * from->width;
        steps.weights[q] = load_columns(from->weights + row, wide);
    }
    if (whole) return steps;
#pragma unroll
    for (int i = 0; i < 2 * ROW_FRAGMENTS; i++) steps.rows[i] = inside ? steps.rows[i] : (float4)0;
#pragma unroll
    for (int q = 0; q < 4; q++) steps.weights[q] = k + q < from->inputs ? steps.weights[q] : (float4)0;
    return steps;
}
INLINED void multiply_row_steps(const RowSteps *steps, bool wide, float4 *sums) {
    LeftPart left[ROW_FRAGMENTS];
#pragma unroll
    for (int f = 0; f < ROW_FRAGMENTS; f++) {
        const float4 x = steps->rows[2 * f], y = steps->rows[2 * f + 1];
        const float values[8] = {x.s0, y.s0, x.s1, y.s1, x.s2, y.s2, x.s3, y.s3};
        split_left(values, left + f);
    }
    multiply_steps(sums, left, steps->weights, wide);
}

/* Add a tile's sums over steps [begin, end) of k, of rows r0 .. of a stage's input and columns j0 .. of its result; begin
 * is a multiple of 16. What is multiplied next is on its way meanwhile. */
INLINED void add_tile_of_rows(STEP step, STAGE stage, int r0, int j0, int begin, int end, float4 *sums) {
    LANE_OF_WARP;
    const int inputs = stage->inputs, last = step->rows - 1, width = padded(stage->outputs);
    const int whole = begin + LARGER(SMALLER(end, inputs) - begin, 0) / 16 * 16;
    const bool wide = is_wide(stage);
    RowOperands from;
#pragma unroll
    for (int i = 0; i < 2 * ROW_FRAGMENTS; i++) from.rows[i] = input_row(step, stage, SMALLER(r0 + group + 8 * i, last), inputs);
    from.weights = step->parameters + stage->weights + SMALLER(column_of_group(j0, wide), width - (wide ? 4 : 2));
    from.inputs = inputs;
    from.width = width;
#if ROW_FRAGMENTS == 1
    if (begin < whole) {
        RowSteps next = load_row_steps(&from, begin, true, wide);
#pragma unroll 1
        for (int k = begin + 16; k < whole; k += 16) {
            const RowSteps now = next;
            next = load_row_steps(&from, k, true, wide);
            multiply_row_steps(&now, wide, sums);
        }
        multiply_row_steps(&next, wide, sums);
    }
#else
#pragma unroll 1
    for (int k = begin; k < whole; k += 16) {
        const RowSteps steps = load_row_steps(&from, k, true, wide);
        multiply_row_steps(&steps, wide, sums);
    }
#endif
    if (whole < end) {
        const RowSteps rest = load_row_steps(&from, whole, false, wide);
        multiply_row_steps(&rest, wide, sums);
    }
}

/* What a tile's sums begin with: the bias of its columns. */
INLINED void begin_tile_of_rows(STEP step, STAGE stage, int j0, float4 *sums) {
    const bool wide = is_wide(stage);
    const real a = bias_of(step, stage, column_of_vector(0, j0, wide)), b = bias_of(step, stage, column_of_vector(2, j0, wide));
#pragma unroll
    for (int u = 0; u < SUMS; u += 4) {
        sums[u] = wide ? (float4)(a.s0, b.s0, a.s0, b.s0) : (float4)(a.s0, a.s2, a.s0, a.s2);
        sums[u + 1] = wide ? (float4)(a.s1, b.s1, a.s1, b.s1) : (float4)(a.s1, a.s3, a.s1, a.s3);
        sums[u + 2] = (float4)(a.s2, b.s2, a.s2, b.s2);
        sums[u + 3] = (float4)(a.s3, b.s3, a.s3, b.s3);
    }
}

/* What follows the sums of a tile, for all of a lane's vectors at once; finish_rows of dense.cl does it for one. */
INLINED void finish_tile_of_rows(STEP step, STAGE stage, int r0, int j0, const float4 *sums) {
    LANE_OF_WARP;
    const int width = padded(stage->outputs);
    const bool wide = is_wide(stage);
    const global scalar *constants = step->constants + stage->constants;
    real x[SUMS], values[SUMS], before[SUMS];
    size_t at[SUMS];
    bool inside[SUMS];
#pragma unroll
    for (int u = 0; u < SUMS; u++) {
        const int r = r0 + u / 4 * 16 + u % 2 * 8 + group, o = column_of_vector(u, j0, wide);
        inside[u] = r < step->rows && o < width;
        at[u] = inside[u] ? (size_t)r * width + o : 0;
        x[u] = vector_of_sums(u, sums, wide);
    }
    if (stage->kind == DENSE_FORWARD) {
        if (stage->saved >= 0)
#pragma unroll
            for (int u = 0; u < SUMS; u++)
                if (inside[u]) store(x[u], step->workspace + stage->saved + at[u]);
#pragma unroll
        for (int u = 0; u < SUMS; u++) x[u] = activated(stage->code, x[u], constants);
    } else {
#pragma unroll
        for (int u = 0; u < SUMS; u++) values[u] = before[u] = load(step->workspace + stage->value + at[u]);
        if (stage->saved >= 0)
#pragma unroll
            for (int u = 0; u < SUMS; u++) before[u] = load(step->workspace + stage->saved + at[u]);
#pragma unroll
        for (int u = 0; u < SUMS; u++) x[u] = through_derivative(stage->code, x[u], before[u], values[u], constants);
    }
#pragma unroll
    for (int u = 0; u < SUMS; u++) {
        const int o = column_of_vector(u, j0, wide);
        if (inside[u]) store(without_padding(x[u], stage->outputs - o), step->workspace + stage->target + at[u]);
    }
}

INLINED void warp_rows(STEP step, STAGE stage, int tile) {
    const int row_tiles = (step->run->batch_size + WARP_ROWS - 1) / WARP_ROWS, number = tile * WARPS + ITEM / 32;
    const int r0 = number % row_tiles * WARP_ROWS, j0 = number / row_tiles * WARP_COLUMNS;
    if (r0 >= step->rows || j0 >= padded(stage->outputs)) return;
    float4 sums[SUMS];
    begin_tile_of_rows(step, stage, j0, sums);
    add_tile_of_rows(step, stage, r0, j0, 0, padded(stage->inputs), sums);
    finish_tile_of_rows(step, stage, r0, j0, sums);
}

/* Where a lane finds the operands of a gradient of weights: columns i .. of the input's rows, two for each fragment, of which
 * `ones` is that of ones, and columns of dz. And what it has of 16 rows of the batch. */
typedef struct {
    const global float *x, *dz;
    const global int *order;
    int stride, width, first, end, ones;
} WeightOperands;
typedef struct {
    float4 x[4], dz[4];
} WeightSteps;

/* Where the input's rows lie: `ordered` says that they are looked up. */
INLINED void look_up_rows(const WeightOperands *from, int n0, bool ordered, int *rows) {
#pragma unroll
    for (int q = 0; q < 4; q++) {
        const int n = SMALLER(n0 + ITEM % 4 + 4 * q, from->end - 1);
        rows[q] = ordered ? from->order[n] : from->first + n;
    }
}
/* The 16 rows from n0 on; `whole`, `wide` and the loads are as above. */
INLINED WeightSteps load_weight_steps(const WeightOperands *from, int n0, const int *rows, bool whole, bool wide) {
    WeightSteps steps;
#pragma unroll
    for (int q = 0; q < 4; q++) {
        const int n = n0 + ITEM % 4 + 4 * q;
        const size_t row = (size_t)(whole ? n : SMALLER(n, from->end - 1)) * from->width;
        steps.x[q] = load_columns(from->x + (size_t)rows[q] * from->stride, ROW_FRAGMENTS == 2);
        steps.dz[q] = load_columns(from->dz + row, wide);
    }
    if (whole) return steps;
#pragma unroll
    for (int q = 0; q < 4; q++) {
        const bool inside = n0 + ITEM % 4 + 4 * q < from->end;
        steps.x[q] = inside ? steps.x[q] : (float4)0;
        steps.dz[q] = inside ? steps.dz[q] : (float4)0;
    }
    return steps;
}
INLINED void multiply_weight_steps(const WeightSteps *steps, int ones, bool wide, float4 *sums) {
    LeftPart left[ROW_FRAGMENTS];
#pragma unroll
    for (int f = 0; f < ROW_FRAGMENTS; f++) {
        float values[8];
#pragma unroll
        for (int q = 0; q < 4; q++) {
            /* Rows past the last are zeros in dz. */
            values[2 * q] = ones == 2 * f ? 1 : LANE(steps->x[q], 2 * f);
            values[2 * q + 1] = ones == 2 * f + 1 ? 1 : LANE(steps->x[q], 2 * f + 1);
        }
        split_left(values, left + f);
    }
    multiply_steps(sums, left, steps->dz, wide);
}
#if ROW_FRAGMENTS == 1
#define SUM_WHOLE_WEIGHT_STEPS(ordered) {                                                         \
    look_up_rows(&from, begin, ordered, rows);                                                    \
    WeightSteps next = load_weight_steps(&from, begin, rows, true, wide);                         \
    look_up_rows(&from, begin + 16, ordered, rows);                                               \
    _Pragma("unroll 1") for (int n = begin + 16; n < whole; n += 16) {                             \
        const WeightSteps now = next;                                                             \
        next = load_weight_steps(&from, n, rows, true, wide);                                     \
        look_up_rows(&from, n + 16, ordered, rows);                                               \
        multiply_weight_steps(&now, from.ones, wide, sums);                                       \
    }                                                                                             \
    multiply_weight_steps(&next, from.ones, wide, sums);                                          \
}
#else
#define SUM_WHOLE_WEIGHT_STEPS(ordered) {                                                         \
    look_up_rows(&from, begin, ordered, rows);                                                    \
    _Pragma("unroll 1") for (int n = begin; n < whole; n += 16) {                                 \
        const WeightSteps steps = load_weight_steps(&from, n, rows, true, wide);                  \
        look_up_rows(&from, n + 16, ordered, rows);                                               \
        multiply_weight_steps(&steps, from.ones, wide, sums);                                     \
    }                                                                                             \
}
#endif

/* Add a tile's sums over rows [begin, end) of the batch, of rows i0 .. and columns j0 .. of the weights. The input has a
 * column of ones for the bias. */
INLINED void add_tile_of_weights(STEP step, STAGE stage, int i0, int j0, int begin, int end, float4 *sums) {
    LANE_OF_WARP;
    const int inputs = stage->inputs, width = padded(stage->outputs), i = i0 + 2 * ROW_FRAGMENTS * group;
    const bool is_x = stage->source < 0, ordered = is_x && step->run->ordered, wide = is_wide(stage);
    const int whole = begin + LARGER(end - begin, 0) / 16 * 16;
    WeightOperands from;
    from.x = (is_x ? step->X : step->workspace + stage->source) + SMALLER(i, padded(inputs) - 2 * ROW_FRAGMENTS);
    from.dz = step->workspace + stage->gradient + SMALLER(column_of_group(j0, wide), width - (wide ? 4 : 2));
    from.order = step->x_order + step->first;
    from.stride = padded(inputs);
    from.width = width;
    from.first = is_x && !ordered ? step->first : 0;
    from.end = end;
    from.ones = stage->bias ? inputs - i : -1;
    int rows[4];
    if (begin < whole) {
        if (ordered) SUM_WHOLE_WEIGHT_STEPS(true)
        else SUM_WHOLE_WEIGHT_STEPS(false)
    }
    if (whole < end) {
        look_up_rows(&from, whole, ordered, rows);
        const WeightSteps rest = load_weight_steps(&from, whole, rows, false, wide);
        multiply_weight_steps(&rest, from.ones, wide, sums);
    }
}

/* Run STATEMENT for each vector `sum` that a lane has of a tile of weights, at row i and column o, or of fragment `first` of
 * its rows. */
#define FOR_WARP_SUMS(count, first, sums, i0, j0, STATEMENT)                                      \
    _Pragma("unroll") for (int u = 0; u < count; u++) {                                           \
        const int i = (i0) + 2 * ROW_FRAGMENTS * (ITEM % 32 / 4) + 2 * (u / 4 + (first)) + u % 2; \
        const int o = column_of_vector(u, j0, is_wide(stage));                                    \
        const real sum = vector_of_sums(u, sums, is_wide(stage));                                 \
        STATEMENT;                                                                                \
    }

#ifdef WHOLE_NETWORK
/* What follows the sums of a fragment of a tile of weights, for a lane's four vectors at once; finish_weights of dense.cl does
 * it for one. */
INLINED void finish_fragment(STEP step, STAGE stage, int fragment, int i0, int j0, const float4 *sums, Squares *squares) {
    const int width = padded(stage->outputs), first = i0 + 2 * ROW_FRAGMENTS * (ITEM % 32 / 4) + 2 * fragment;
    global scalar *weights = step->parameters + stage->weights;
    real gradients[UPDATED_AT_ONCE], w[UPDATED_AT_ONCE];
    int at[UPDATED_AT_ONCE];
    if (stage->parts) {
        FOR_WARP_SUMS(UPDATED_AT_ONCE, fragment, sums, i0, j0, store_gradient(step, stage, i, o, sum))
        return;
    }
    FOR_WARP_SUMS(UPDATED_AT_ONCE, fragment, sums, i0, j0, {
        at[u] = i < stage->inputs + stage->bias && o < width ? i * width + o : -1;
        gradients[u] = sum;
        w[u] = stage->losses >= 0 ? load(weights + LARGER(at[u], 0)) : (real)0;
    })
#pragma unroll
    for (int u = 0; u < UPDATED_AT_ONCE; u++)
        if (at[u] >= 0) gradients[u] = with_penalty(step, stage, first + u % 2, w[u], gradients[u], squares);
    if (stage->target >= 0) {
#pragma unroll
        for (int u = 0; u < UPDATED_AT_ONCE; u++)
            if (at[u] >= 0) store_for_clipping(step, stage, at[u], gradients[u], squares);
        return;
    }
    optimizer_update_apart(stage->code, gradients, at, weights, step->run->parameter_count, step->scalars);
#pragma unroll
    for (int u = 0; u < UPDATED_AT_ONCE; u++)
        if (at[u] >= 0) store_weights(step, stage, first + u % 2, column_of_vector(u, j0, is_wide(stage)), gradients[u]);
}

/* The rows of the first of two warps that share a sum. */
#define HALF_OF_ROWS(rows) (((rows) + 31) / 32 * 16)
/* Two neighbouring warps have summed halves of the batch for the same tile: each gets the sum of one fragment of rows. */
INLINED void exchange_fragments(float4 *sums, local scalar *scratch) {
    local float4 *places = (local float4 *)scratch;
    const int odd = ITEM / 32 % 2;
#pragma unroll
    for (int i = 0; i < 4; i++) places[i * ITEMS + ITEM] = odd ? sums[i] : sums[4 + i];
    SYNC_LOCAL;
#pragma unroll
    for (int i = 0; i < 4; i++) sums[i] = (odd ? sums[4 + i] : sums[i]) + places[i * ITEMS + (ITEM ^ 32)];
    SYNC_LOCAL;
}

INLINED void warp_weights(STEP step, STAGE stage, int tile, local scalar *scratch) {
    const int row_tiles = (stage->inputs + stage->bias + WARP_ROWS - 1) / WARP_ROWS, log_slices = stage->log_slices;
    const int warp = tile * WARPS + ITEM / 32, number = warp >> log_slices;
    const int i0 = number % row_tiles * WARP_ROWS, j0 = number / row_tiles * WARP_COLUMNS;
    const int all = SMALLER(stage->rows_end, step->rows), middle = stage->rows_begin + HALF_OF_ROWS(stage->rows_end - stage->rows_begin);
    const int begin = log_slices && warp % 2 ? middle : stage->rows_begin, end = log_slices && warp % 2 == 0 ? SMALLER(middle, all) : all;
    float4 sums[SUMS] = {0};
    Squares squares = {0, 0};
    add_tile_of_weights(step, stage, i0, j0, begin, j0 < padded(stage->outputs) ? end : 0, sums);
    if (log_slices) {
        exchange_fragments(sums, scratch);
        finish_fragment(step, stage, warp % 2, i0, j0, sums, &squares);
    } else {
        for (int f = 0; f < ROW_FRAGMENTS; f++) finish_fragment(step, stage, f, i0, j0, sums + 4 * f, &squares);
    }
    if (!stage->parts) store_squares(step, stage, tile, squares, ITEMS, scratch);
}
#endif
