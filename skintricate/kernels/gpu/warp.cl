/* Products of a network that one work-group trains, on NVIDIA's tensor cores: each warp makes tiles of 16 x 32 of the
 * result by itself, straight from global memory, whose caches hold a small network. No local memory, no barrier.
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
static inline void multiply_pair(float4 *sums, const float *left, const float2 *right) {
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

static inline float2 load_pair(const global float *p, bool inside) {
    return inside ? *(const global float2 *)p : (float2)0;
}

static inline void warp_rows(STEP step, STAGE stage, int tile) {
    LANE_OF_WARP;
    const int row_tiles = (step->run->batch_size + WARP_ROWS - 1) / WARP_ROWS, number = tile * WARPS + ITEM / 32;
    const int r0 = number % row_tiles * WARP_ROWS, j0 = number / row_tiles * WARP_COLUMNS;
    const int inputs = stage->inputs, width = padded(stage->outputs), last = step->rows - 1, column = j0 + 2 * group;
    if (r0 > last || j0 >= width) return;
    const global float *upper = input_row(step, stage, SMALLER(r0 + group, last), inputs);
    const global float *lower = input_row(step, stage, SMALLER(r0 + group + 8, last), inputs);
    const global float *weights = step->parameters + stage->weights + column;
    float4 sums[4] = {0, 0, 0, 0};
#pragma unroll 2
    for (int k = 4 * member; k < padded(inputs) + 4 * member; k += 16) {
        const bool inside = k < inputs;
        const float4 x = inside ? load(upper + k) : (float4)0, y = inside ? load(lower + k) : (float4)0;
        float2 right[2][4];
#pragma unroll
        for (int q = 0; q < 4; q++) {
            const global float *row = weights + (size_t)(k + q) * width;
            right[0][q] = load_pair(row, k + q < inputs && column < width);
            right[1][q] = load_pair(row + 16, k + q < inputs && column + 16 < width);
        }
        const float first[4] = {x.s0, y.s0, x.s1, y.s1}, second[4] = {x.s2, y.s2, x.s3, y.s3};
#pragma unroll
        for (int c = 0; c < 2; c++) {
            multiply_pair(sums + 2 * c, first, right[c]);
            multiply_pair(sums + 2 * c, second, right[c] + 2);
        }
    }
#pragma unroll
    for (int c = 0; c < 2; c++) {
        const int o = j0 + 16 * c + 4 * member;
        const real bias = bias_of(step, stage, o);
        finish_rows(step, stage, r0 + group, o, upper_sum(sums + 2 * c) + bias);
        finish_rows(step, stage, r0 + group + 8, o, lower_sum(sums + 2 * c) + bias);
    }
}

/* Columns i and i + 1 of a row of the input, which has a column of ones for the bias: the last of `columns`, if `ones`. */
static inline float2 input_pair(const global float *row, int i, int columns, bool ones, bool inside) {
    float2 x = load_pair(row + i, inside && i < padded(columns));
    if (ones && inside && i == (columns & ~1)) {
        if (i == columns) x.x = 1;
        else x.y = 1;
    }
    return x;
}

static inline void warp_weights(STEP step, STAGE stage, int tile, local scalar *scratch) {
    LANE_OF_WARP;
    const int rows = stage->inputs + stage->bias, width = padded(stage->outputs);
    const int row_tiles = (rows + WARP_ROWS - 1) / WARP_ROWS, number = tile * WARPS + ITEM / 32;
    const int i = number % row_tiles * WARP_ROWS + 2 * group, j0 = number / row_tiles * WARP_COLUMNS;
    const int end = j0 < width ? SMALLER(stage->rows_end, step->rows) : 0, column = j0 + 2 * group;
    const global float *dz = step->workspace + stage->gradient + column;
    const bool is_x = stage->source < 0, ones = stage->bias, ordered = is_x && step->run->ordered;
    const global float *x_rows = is_x ? step->X : step->workspace + stage->source;
    const global int *order = step->x_order + step->first;
    const int inputs = stage->inputs, stride = padded(inputs), first = is_x && !ordered ? step->first : 0;
    /* Which row a sample is has been looked up one step before. */
#define ROW_OF_INPUT(n) (ordered ? order[SMALLER(n, end - 1)] : first + (n))
    const int begin = stage->rows_begin + member;
    int upper = end > 0 ? ROW_OF_INPUT(begin) : 0, lower = end > 0 ? ROW_OF_INPUT(begin + 4) : 0;
    float4 sums[4] = {0, 0, 0, 0};
#pragma unroll 2
    for (int n = begin; n < end + member; n += 8) {
        const float2 x = input_pair(x_rows + (size_t)upper * stride, i, inputs, ones, n < end);
        const float2 y = input_pair(x_rows + (size_t)lower * stride, i, inputs, ones, n + 4 < end);
        upper = ROW_OF_INPUT(n + 8);
        lower = ROW_OF_INPUT(n + 12);
        const float left[4] = {x.x, x.y, y.x, y.y};
#pragma unroll
        for (int c = 0; c < 2; c++) {
            const global float *row = dz + (size_t)n * width + 16 * c;
            const bool inside = column + 16 * c < width;
            const float2 right[2] = {load_pair(row, inside && n < end),
                                     load_pair(row + (size_t)4 * width, inside && n + 4 < end)};
            multiply_pair(sums + 2 * c, left, right);
        }
    }
    Squares squares = {0, 0};
#pragma unroll
    for (int c = 0; c < 2; c++) {
        const int o = j0 + 16 * c + 4 * member;
        finish_weights(step, stage, i, o, upper_sum(sums + 2 * c), &squares);
        finish_weights(step, stage, i + 1, o, lower_sum(sums + 2 * c), &squares);
    }
    if (!stage->parts) store_squares(step, stage, tile, squares, ITEMS, scratch);
}
