/* Products on NVIDIA's tensor cores by single warps: each makes tiles of 16 x 32 of the result by itself, straight from
 * global memory, whose caches hold a small network, or the narrow matrices of a large one (slices.cl). No local memory, no
 * barrier.
 *
 * What a lane loads is what its fragments need, in vectors: rows of k may be taken in any order, if it is that of both
 * operands, and so may the columns of the result. In 16 steps of k, member t has steps 4 t .. 4 t + 3. In 16 columns of
 * the right operand, group g has columns 2 g and 2 g + 1, one for each of two fragments, which gives member t columns
 * 4 t .. 4 t + 3 of the result. A gradient's rows are those of W, two for each group.
 */
#define WARP_ROWS 16
#define WARP_COLUMNS 32
#define WARPS (ITEMS / 32)
#define LANE_OF_WARP const int lane = ITEM % 32, group = lane / 4, member = lane % 4

/* sums[2] are two fragments of 16 rows; left[4], and right[2] with a float2 for both fragments. */
INLINED void multiply_pair(float4 *sums, const float *left, const float2 *right) {
    uint a[4], a_rest[4], b[2], b_rest[2];
#pragma unroll
    for (int i = 0; i < 4; i++) SPLIT(as_uint(left[i]), a[i], a_rest[i])
#pragma unroll
    for (int j = 0; j < 2; j++) {
#pragma unroll
        for (int i = 0; i < 2; i++) SPLIT(as_uint(j ? right[i].y : right[i].x), b[i], b_rest[i])
        MULTIPLY_FRAGMENT(sums[j], a, b, a_rest, b_rest)
    }
}

/* A lane's vector of the result, of the upper or the lower row that it has. */
static inline real upper_sum(const float4 *sums) { return (real)(sums[0].s0, sums[1].s0, sums[0].s1, sums[1].s1); }
static inline real lower_sum(const float4 *sums) { return (real)(sums[0].s2, sums[1].s2, sums[0].s3, sums[1].s3); }

static inline float2 load_pair(const global float *p) { return *(const global float2 *)p; }

/* Where a lane finds the operands of a product of rows, and what it has of 16 steps of k. */
typedef struct {
    const global float *upper, *lower, *left_weights, *right_weights;
    int inputs, width;
} RowOperands;
typedef struct {
    float4 x, y;
    float2 left[4], right[4];
} RowSteps;

/* The steps from k0 on. `whole` says that all of them are there. All loads are asked for at once: those of columns past the
 * last, which nobody stores, read others. */
INLINED RowSteps load_row_steps(const RowOperands *from, int k0, bool whole) {
    const int k = k0 + 4 * (ITEM % 4);
    const bool inside = whole || k < from->inputs;
    RowSteps steps;
    steps.x = load(from->upper + (inside ? k : 0));
    steps.y = load(from->lower + (inside ? k : 0));
#pragma unroll
    for (int q = 0; q < 4; q++) {
        const size_t row = (size_t)(whole ? k + q : SMALLER(k + q, from->inputs - 1)) * from->width;
        steps.left[q] = load_pair(from->left_weights + row);
        steps.right[q] = load_pair(from->right_weights + row);
    }
    if (whole) return steps;
    steps.x = inside ? steps.x : (float4)0;
    steps.y = inside ? steps.y : (float4)0;
#pragma unroll
    for (int q = 0; q < 4; q++) {
        steps.left[q] = k + q < from->inputs ? steps.left[q] : (float2)0;
        steps.right[q] = k + q < from->inputs ? steps.right[q] : (float2)0;
    }
    return steps;
}
INLINED void multiply_row_steps(const RowSteps *steps, float4 *sums) {
    const float first[4] = {steps->x.s0, steps->y.s0, steps->x.s1, steps->y.s1};
    const float second[4] = {steps->x.s2, steps->y.s2, steps->x.s3, steps->y.s3};
    multiply_pair(sums, first, steps->left);
    multiply_pair(sums + 2, first, steps->right);
    multiply_pair(sums, second, steps->left + 2);
    multiply_pair(sums + 2, second, steps->right + 2);
}

/* Add a tile's sums over steps [begin, end) of k, of rows r0 .. of a stage's input and columns j0 .. of its result; begin
 * is a multiple of 16. What is multiplied next is on its way meanwhile. */
INLINED void add_tile_of_rows(STEP step, STAGE stage, int r0, int j0, int begin, int end, float4 *sums) {
    LANE_OF_WARP;
    const int inputs = stage->inputs, last = step->rows - 1, column = j0 + 2 * group, last_pair = padded(stage->outputs) - 2;
    const int whole = begin + LARGER(SMALLER(end, inputs) - begin, 0) / 16 * 16;
    const global float *weights = step->parameters + stage->weights;
    RowOperands from = {input_row(step, stage, SMALLER(r0 + group, last), inputs),
                        input_row(step, stage, SMALLER(r0 + group + 8, last), inputs),
                        weights + SMALLER(column, last_pair), weights + SMALLER(column + 16, last_pair),
                        inputs, padded(stage->outputs)};
    if (begin < whole) {
        RowSteps next = load_row_steps(&from, begin, true);
#pragma unroll 1
        for (int k = begin + 16; k < whole; k += 16) {
            const RowSteps now = next;
            next = load_row_steps(&from, k, true);
            multiply_row_steps(&now, sums);
        }
        multiply_row_steps(&next, sums);
    }
    if (whole < end) {
        const RowSteps rest = load_row_steps(&from, whole, false);
        multiply_row_steps(&rest, sums);
    }
}

/* What follows the sums of a tile, for a lane's four vectors at once; finish_rows of dense.cl does it for one. */
INLINED void finish_tile_of_rows(STEP step, STAGE stage, int r0, int j0, const float4 *sums) {
    LANE_OF_WARP;
    const int width = padded(stage->outputs);
    const global scalar *constants = step->constants + stage->constants;
    real x[4], values[4], before[4];
    size_t at[4];
    bool inside[4];
#pragma unroll
    for (int u = 0; u < 4; u++) {
        const int r = r0 + group + u % 2 * 8, o = j0 + u / 2 * 16 + 4 * member;
        inside[u] = r < step->rows && o < width;
        at[u] = inside[u] ? (size_t)r * width + o : 0;
        x[u] = u % 2 ? lower_sum(sums + u / 2 * 2) : upper_sum(sums + u / 2 * 2);
    }
    if (stage->kind == DENSE_FORWARD) {
#pragma unroll
        for (int u = 0; u < 4; u++) x[u] += bias_of(step, stage, j0 + u / 2 * 16 + 4 * member);
        if (stage->saved >= 0)
#pragma unroll
            for (int u = 0; u < 4; u++)
                if (inside[u]) store(x[u], step->workspace + stage->saved + at[u]);
#pragma unroll
        for (int u = 0; u < 4; u++) x[u] = activated(stage->code, x[u], constants);
    } else {
#pragma unroll
        for (int u = 0; u < 4; u++) values[u] = before[u] = load(step->workspace + stage->value + at[u]);
        if (stage->saved >= 0)
#pragma unroll
            for (int u = 0; u < 4; u++) before[u] = load(step->workspace + stage->saved + at[u]);
#pragma unroll
        for (int u = 0; u < 4; u++) x[u] = through_derivative(stage->code, x[u], before[u], values[u], constants);
    }
#pragma unroll
    for (int u = 0; u < 4; u++) {
        const int o = j0 + u / 2 * 16 + 4 * member;
        if (inside[u]) store(without_padding(x[u], stage->outputs - o), step->workspace + stage->target + at[u]);
    }
}

INLINED void warp_rows(STEP step, STAGE stage, int tile) {
    const int row_tiles = (step->run->batch_size + WARP_ROWS - 1) / WARP_ROWS, number = tile * WARPS + ITEM / 32;
    const int r0 = number % row_tiles * WARP_ROWS, j0 = number / row_tiles * WARP_COLUMNS;
    if (r0 >= step->rows || j0 >= padded(stage->outputs)) return;
    float4 sums[4] = {0, 0, 0, 0};
    add_tile_of_rows(step, stage, r0, j0, 0, padded(stage->inputs), sums);
    finish_tile_of_rows(step, stage, r0, j0, sums);
}

/* Where a lane finds the operands of a gradient of weights: columns i and i + 1 of the input's rows, of which `ones` is
 * that of ones, and pairs of columns of dz. And what it has of 16 rows of the batch. */
typedef struct {
    const global float *x, *left_dz, *right_dz;
    const global int *order;
    int stride, width, first, end, ones;
} WeightOperands;
typedef struct {
    float2 x[4], left[4], right[4];
} WeightSteps;

/* Where the input's rows lie: `ordered` says that they are looked up. */
INLINED void look_up_rows(const WeightOperands *from, int n0, bool ordered, int *rows) {
#pragma unroll
    for (int q = 0; q < 4; q++) {
        const int n = SMALLER(n0 + ITEM % 4 + 4 * q, from->end - 1);
        rows[q] = ordered ? from->order[n] : from->first + n;
    }
}
/* The 16 rows from n0 on; `whole` and the loads are as above. */
INLINED WeightSteps load_weight_steps(const WeightOperands *from, int n0, const int *rows, bool whole) {
    WeightSteps steps;
#pragma unroll
    for (int q = 0; q < 4; q++) {
        const int n = n0 + ITEM % 4 + 4 * q;
        const size_t row = (size_t)(whole ? n : SMALLER(n, from->end - 1)) * from->width;
        steps.x[q] = load_pair(from->x + (size_t)rows[q] * from->stride);
        steps.left[q] = load_pair(from->left_dz + row);
        steps.right[q] = load_pair(from->right_dz + row);
    }
    if (whole) return steps;
#pragma unroll
    for (int q = 0; q < 4; q++) {
        const bool inside = n0 + ITEM % 4 + 4 * q < from->end;
        steps.x[q] = inside ? steps.x[q] : (float2)0;
        steps.left[q] = inside ? steps.left[q] : (float2)0;
        steps.right[q] = inside ? steps.right[q] : (float2)0;
    }
    return steps;
}
INLINED void multiply_weight_steps(const WeightSteps *steps, int ones, float4 *sums) {
#pragma unroll
    for (int q = 0; q < 4; q += 2) {
        float2 x = steps->x[q], y = steps->x[q + 1];
        /* Rows past the last are zeros in dz. */
        if (ones == 0) x.x = y.x = 1;
        if (ones == 1) x.y = y.y = 1;
        const float left[4] = {x.x, x.y, y.x, y.y};
        multiply_pair(sums, left, steps->left + q);
        multiply_pair(sums + 2, left, steps->right + q);
    }
}
#define SUM_WHOLE_WEIGHT_STEPS(ordered) {                                                         \
    look_up_rows(&from, begin, ordered, rows);                                                    \
    WeightSteps next = load_weight_steps(&from, begin, rows, true);                               \
    look_up_rows(&from, begin + 16, ordered, rows);                                               \
    _Pragma("unroll 1") for (int n = begin + 16; n < whole; n += 16) {                             \
        const WeightSteps now = next;                                                             \
        next = load_weight_steps(&from, n, rows, true);                                           \
        look_up_rows(&from, n + 16, ordered, rows);                                               \
        multiply_weight_steps(&now, from.ones, sums);                                             \
    }                                                                                             \
    multiply_weight_steps(&next, from.ones, sums);                                                \
}

/* Add a tile's sums over rows [begin, end) of the batch, of rows i0 .. and columns j0 .. of the weights. The input has a
 * column of ones for the bias. */
INLINED void add_tile_of_weights(STEP step, STAGE stage, int i0, int j0, int begin, int end, float4 *sums) {
    LANE_OF_WARP;
    const int inputs = stage->inputs, width = padded(stage->outputs), i = i0 + 2 * group, column = j0 + 2 * group;
    const bool is_x = stage->source < 0, ordered = is_x && step->run->ordered;
    const global float *x = (is_x ? step->X : step->workspace + stage->source) + SMALLER(i, padded(inputs) - 2);
    const global float *dz = step->workspace + stage->gradient;
    const int whole = begin + LARGER(end - begin, 0) / 16 * 16;
    const WeightOperands from = {x, dz + SMALLER(column, width - 2), dz + SMALLER(column + 16, width - 2),
                                 step->x_order + step->first, padded(inputs), width,
                                 is_x && !ordered ? step->first : 0, end, stage->bias ? inputs - i : -1};
    int rows[4];
    if (begin < whole) {
        if (ordered) SUM_WHOLE_WEIGHT_STEPS(true)
        else SUM_WHOLE_WEIGHT_STEPS(false)
    }
    if (whole < end) {
        look_up_rows(&from, whole, ordered, rows);
        const WeightSteps rest = load_weight_steps(&from, whole, rows, false);
        multiply_weight_steps(&rest, from.ones, sums);
    }
}

/* Run STATEMENT for each vector `sum` that a lane has of a tile of weights, at row i and column o. */
#define FOR_WARP_SUMS(sums, i0, j0, STATEMENT)                                                    \
    _Pragma("unroll") for (int u = 0; u < 4; u++) {                                               \
        const int i = (i0) + ITEM % 32 / 4 * 2 + u % 2, o = (j0) + u / 2 * 16 + ITEM % 4 * 4;     \
        const real sum = u % 2 ? lower_sum((sums) + u / 2 * 2) : upper_sum((sums) + u / 2 * 2);   \
        STATEMENT;                                                                                \
    }

INLINED void warp_weights(STEP step, STAGE stage, int tile, local scalar *scratch) {
    const int row_tiles = (stage->inputs + stage->bias + WARP_ROWS - 1) / WARP_ROWS, number = tile * WARPS + ITEM / 32;
    const int i0 = number % row_tiles * WARP_ROWS, j0 = number / row_tiles * WARP_COLUMNS;
    const int end = j0 < padded(stage->outputs) ? SMALLER(stage->rows_end, step->rows) : 0;
    float4 sums[4] = {0, 0, 0, 0};
    Squares squares = {0, 0};
    add_tile_of_weights(step, stage, i0, j0, stage->rows_begin, end, sums);
    FOR_WARP_SUMS(sums, i0, j0, finish_weights(step, stage, i, o, sum, &squares))
    if (!stage->parts) store_squares(step, stage, tile, squares, ITEMS, scratch);
}
