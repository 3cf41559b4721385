/* Products on NVIDIA's tensor cores by single warps: each makes tiles of WARP_ROWS x WARP_COLUMNS of the result by itself,
 * straight from global memory, whose caches hold a small network, or the narrow matrices of a large one (slices.cl), without
 * local memory or barriers. Gradients of weights are in warp_weights.cl.
 *
 * What a lane loads is what its fragments need, in vectors: rows of k may be taken in any order, if it is that of both
 * operands, and so may the rows and columns of the result. In 16 steps of k, member t has steps 4 t .. 4 t + 3. Of 32
 * columns of the right operand, group g has columns 4 g .. 4 g + 3, one for each of four fragments, which gives member t
 * columns 8 t .. 8 t + 7 of the result. Where there are no more than 16, it has 2 g and 2 g + 1, of two fragments, and
 * member t columns 4 t .. 4 t + 3. A gradient's rows are those of W, two for each group and fragment.
 *
 * Where a group has a network for itself, a warp takes twice as many rows at once: less is split, and less is loaded, for
 * each product. A step of such a network meets most instructions once, and waits for them where the cache of instructions
 * does not hold them (docs/design.md). So whole and last steps share a loop there, and fragments are finished by one.
 */
#ifdef WHOLE_NETWORK
#define ROW_FRAGMENTS 2
#else
#define ROW_FRAGMENTS 1
#endif
#define WARP_ROWS (16 * ROW_FRAGMENTS)
#define WARP_COLUMNS 32
#define WARPS (ITEMS / 32)
/* A lane's places in a fragment. */
#define GROUP (ITEM % 32 / 4)
#define MEMBER (ITEM % 4)
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

/* Whether a tile has more than 16 columns of the result. */
static inline bool is_wide(STAGE stage, int j0) {
    /* Of few outputs a compiler sees the answer. */
    return stage->outputs > WARP_COLUMNS / 2 && stage->outputs - j0 > WARP_COLUMNS / 2;
}
/* The first column that a group has of the right operand. */
static inline int column_of_group(int j0, bool wide) { return j0 + (wide ? 4 : 2) * GROUP; }
/* Vector u of a lane's four in 16 rows of the result, of rows GROUP and GROUP + 8 in turn: its column, and itself. */
static inline int column_of_vector(int u, int j0, bool wide) {
    return j0 + (wide ? 8 * MEMBER + u / 2 * 4 : 4 * MEMBER + u / 2 * 16);
}
INLINED real vector_of_sums(int u, const float4 *sums, bool wide) {
    const int first = u % 2 * 2, at = first + u / 2;
    return wide ? (real)(LANE(sums[0], at), LANE(sums[1], at), LANE(sums[2], at), LANE(sums[3], at))
                : (real)(LANE(sums[0], first), LANE(sums[1], first), LANE(sums[0], first + 1), LANE(sums[1], first + 1));
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

/* The steps from k0 on, zeros past the last. `whole` says that all of them are there, `wide` that there are more than 16
 * columns. All loads are asked for at once: those of columns past the last, which nobody stores, read others. */
INLINED RowSteps load_row_steps(const RowOperands *from, int k0, bool whole, bool wide) {
    const int k = k0 + 4 * MEMBER;
    const bool inside = whole || k < from->inputs;
    RowSteps steps;
#pragma unroll
    for (int i = 0; i < 2 * ROW_FRAGMENTS; i++) steps.rows[i] = load(from->rows[i] + (inside ? k : 0));
#pragma unroll
    for (int q = 0; q < 4; q++) {
        const size_t row = (size_t)(whole ? k + q : SMALLER(k + q, from->inputs - 1)) * from->width;
        steps.weights[q] = load_columns(from->weights + row, wide);
    }
    if (whole || k0 + 16 <= from->inputs) return steps;
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

/* Add to a tile's sums over steps [begin, end) of k; begin is a multiple of 16. Where registers suffice, what is multiplied
 * next is on its way meanwhile; else other warps work. */
INLINED void add_steps_of_rows(const RowOperands *from, int begin, int end, bool wide, float4 *sums) {
#if ROW_FRAGMENTS == 1
    const int whole = begin + LARGER(SMALLER(end, from->inputs) - begin, 0) / 16 * 16;
    if (begin < whole) {
        RowSteps next = load_row_steps(from, begin, true, wide);
#pragma unroll 1
        for (int k = begin + 16; k < whole; k += 16) {
            const RowSteps now = next;
            next = load_row_steps(from, k, true, wide);
            multiply_row_steps(&now, wide, sums);
        }
        multiply_row_steps(&next, wide, sums);
    }
    if (whole < end) {
        const RowSteps rest = load_row_steps(from, whole, false, wide);
        multiply_row_steps(&rest, wide, sums);
    }
#else
#pragma unroll 1
    for (int k = begin; k < end; k += 16) {
        const RowSteps steps = load_row_steps(from, k, false, wide);
        multiply_row_steps(&steps, wide, sums);
    }
#endif
}
/* The same of rows r0 .. of a stage's input and columns j0 .. of its result. */
INLINED void add_tile_of_rows(STEP step, STAGE stage, int r0, int j0, int begin, int end, float4 *sums) {
    const int inputs = stage->inputs, last = step->rows - 1, width = padded(stage->outputs);
    const bool wide = is_wide(stage, j0);
    if (begin >= end) return;
    RowOperands from;
#pragma unroll
    for (int i = 0; i < 2 * ROW_FRAGMENTS; i++) from.rows[i] = input_row(step, stage, SMALLER(r0 + GROUP + 8 * i, last), inputs);
    from.weights = step->parameters + stage->weights + SMALLER(column_of_group(j0, wide), width - (wide ? 4 : 2));
    from.inputs = inputs;
    from.width = width;
#if ROW_FRAGMENTS == 1
    add_steps_of_rows(&from, begin, end, wide, sums);
#else
    if (wide) add_steps_of_rows(&from, begin, end, true, sums);
    else add_steps_of_rows(&from, begin, end, false, sums);
#endif
}

/* What a tile's sums begin with: the bias of its columns. */
INLINED void begin_tile_of_rows(STEP step, STAGE stage, int j0, float4 *sums) {
    const bool wide = is_wide(stage, j0);
    const real a = bias_of(step, stage, column_of_vector(0, j0, wide)), b = bias_of(step, stage, column_of_vector(2, j0, wide));
#pragma unroll
    for (int u = 0; u < SUMS; u += 4) {
        sums[u] = wide ? (float4)(a.s0, b.s0, a.s0, b.s0) : (float4)(a.s0, a.s2, a.s0, a.s2);
        sums[u + 1] = wide ? (float4)(a.s1, b.s1, a.s1, b.s1) : (float4)(a.s1, a.s3, a.s1, a.s3);
        sums[u + 2] = (float4)(a.s2, b.s2, a.s2, b.s2);
        sums[u + 3] = (float4)(a.s3, b.s3, a.s3, b.s3);
    }
}

/* What follows the sums of 16 rows of a tile, for all of a lane's vectors at once; finish_rows of dense.cl does it for one. */
INLINED void finish_fragment_of_rows(STEP step, STAGE stage, int r0, int j0, const float4 *sums) {
    const int width = padded(stage->outputs);
    const bool wide = is_wide(stage, j0);
    const global scalar *constants = step->constants + stage->constants;
    real x[4], values[4], before[4];
    size_t at[4];
    bool inside[4];
#pragma unroll
    for (int u = 0; u < 4; u++) {
        const int r = r0 + u % 2 * 8 + GROUP, o = column_of_vector(u, j0, wide);
        inside[u] = r < step->rows && o < width;
        at[u] = inside[u] ? (size_t)r * width + o : 0;
        x[u] = vector_of_sums(u, sums, wide);
    }
    if (stage->kind == DENSE_FORWARD) {
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
        const int o = column_of_vector(u, j0, wide);
        if (inside[u]) store(without_padding(x[u], stage->outputs - o), step->workspace + stage->target + at[u]);
    }
}
INLINED void finish_tile_of_rows(STEP step, STAGE stage, int r0, int j0, float4 *sums) {
#pragma unroll 1
    for (int f = 0; f < ROW_FRAGMENTS; f++) {
        finish_fragment_of_rows(step, stage, r0 + 16 * f, j0, sums);
#pragma unroll
        for (int i = 0; i < SUMS - 4; i++) sums[i] = sums[4 + i];
    }
}

INLINED void warp_rows(STEP step, STAGE stage, int tile) {
    const int column_tiles = (padded(stage->outputs) + WARP_COLUMNS - 1) / WARP_COLUMNS, number = tile * WARPS + ITEM / 32;
    const int r0 = number / column_tiles * WARP_ROWS, j0 = number % column_tiles * WARP_COLUMNS;
    if (r0 >= step->rows) return;
    float4 sums[SUMS];
    begin_tile_of_rows(step, stage, j0, sums);
    add_tile_of_rows(step, stage, r0, j0, 0, padded(stage->inputs), sums);
    finish_tile_of_rows(step, stage, r0, j0, sums);
}
