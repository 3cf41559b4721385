/* Gradients of weights by warps; see warp.cl. Where a group has fewer tiles than would keep its warps busy, two neighbours
 * share the rows of each, and exchange what they have summed. The bias has no row in the tiles: 64 inputs would then need
 * three rows of them instead of two. Its gradient is the sum of what the lanes of the first tiles load of dz.
 */

/* Where a lane finds the operands of a gradient of weights: columns i .. of the input's rows, two for each fragment, and
 * columns of dz. And what it has of 16 rows of the batch. */
typedef struct {
    const global float *x, *dz;
    const global int *order;
    int stride, width, first, end;
} WeightOperands;
typedef struct {
    float4 x[4], dz[4];
} WeightSteps;

/* A lane's sums of a tile of weights, and those of the columns of dz, which are the bias', over the rows that it loads. */
typedef struct {
    float4 weights[SUMS], bias;
} WeightSums;

/* Where the input's rows lie, for 16 of them from n0 on: `ordered` says that they are looked up. */
INLINED void look_up_rows(const WeightOperands *from, int n0, bool ordered, int *rows) {
#pragma unroll
    for (int q = 0; q < 4; q++) {
        const int n = SMALLER(n0 + MEMBER + 4 * q, from->end - 1);
        rows[q] = ordered ? from->order[n] : from->first + n;
    }
}
/* The 16 rows from n0 on, zeros past the last; `whole`, `wide` and the loads are as above. */
INLINED WeightSteps load_weight_steps(const WeightOperands *from, int n0, const int *rows, bool whole, bool wide) {
    WeightSteps steps;
#pragma unroll
    for (int q = 0; q < 4; q++) {
        const int n = n0 + MEMBER + 4 * q;
        const size_t row = (size_t)(whole ? n : SMALLER(n, from->end - 1)) * from->width;
        steps.x[q] = load_columns(from->x + (size_t)rows[q] * from->stride, ROW_FRAGMENTS == 2);
        steps.dz[q] = load_columns(from->dz + row, wide);
    }
    if (whole || n0 + 16 <= from->end) return steps;
#pragma unroll
    for (int q = 0; q < 4; q++) {
        const bool inside = n0 + MEMBER + 4 * q < from->end;
        steps.x[q] = inside ? steps.x[q] : (float4)0;
        steps.dz[q] = inside ? steps.dz[q] : (float4)0;
    }
    return steps;
}
INLINED void multiply_weight_steps(const WeightSteps *steps, bool wide, bool has_bias, WeightSums *sums) {
    LeftPart left[ROW_FRAGMENTS];
#pragma unroll
    for (int f = 0; f < ROW_FRAGMENTS; f++) {
        float values[8];
#pragma unroll
        for (int q = 0; q < 4; q++) {
            values[2 * q] = LANE(steps->x[q], 2 * f);
            values[2 * q + 1] = LANE(steps->x[q], 2 * f + 1);
        }
        split_left(values, left + f);
    }
    if (has_bias) sums->bias += (steps->dz[0] + steps->dz[1]) + (steps->dz[2] + steps->dz[3]);
    multiply_steps(sums->weights, left, steps->dz, wide);
}
/* Whether the tile whose weights' first row is i0 has the bias, too. */
static inline bool has_bias_too(STAGE stage, int i0) { return stage->bias && i0 == 0; }

/* Add to a tile's sums over the rows from `begin` on. */
INLINED void add_rows_of_weights(const WeightOperands *from, int begin, bool ordered, bool wide, bool has_bias,
                                 WeightSums *sums) {
    int rows[4];
    look_up_rows(from, begin, ordered, rows);
#if ROW_FRAGMENTS == 1
    const int whole = begin + (from->end - begin) / 16 * 16;
    if (begin < whole) {
        WeightSteps next = load_weight_steps(from, begin, rows, true, wide);
        look_up_rows(from, begin + 16, ordered, rows);
#pragma unroll 1
        for (int n = begin + 16; n < whole; n += 16) {
            const WeightSteps now = next;
            next = load_weight_steps(from, n, rows, true, wide);
            look_up_rows(from, n + 16, ordered, rows);
            multiply_weight_steps(&now, wide, has_bias, sums);
        }
        multiply_weight_steps(&next, wide, has_bias, sums);
    }
    if (whole < from->end) {
        const WeightSteps rest = load_weight_steps(from, whole, rows, false, wide);
        multiply_weight_steps(&rest, wide, has_bias, sums);
    }
#else
#pragma unroll 1
    for (int n = begin; n < from->end; n += 16) {
        const WeightSteps steps = load_weight_steps(from, n, rows, false, wide);
        look_up_rows(from, n + 16, ordered, rows);
        multiply_weight_steps(&steps, wide, has_bias, sums);
    }
#endif
}
/* The same over rows [begin, end) of the batch, of rows i0 .. and columns j0 .. of the weights. */
INLINED void add_tile_of_weights(STEP step, STAGE stage, int i0, int j0, int begin, int end, WeightSums *sums) {
    const int inputs = stage->inputs, width = padded(stage->outputs), i = i0 + 2 * ROW_FRAGMENTS * GROUP;
    const bool is_x = stage->source < 0, ordered = is_x && step->run->ordered;
    const bool has_bias = has_bias_too(stage, i0), wide = is_wide(stage, j0);
    if (begin >= end) return;
    WeightOperands from;
    from.x = (is_x ? step->X : step->workspace + stage->source) + SMALLER(i, padded(inputs) - 2 * ROW_FRAGMENTS);
    from.dz = step->workspace + stage->gradient + SMALLER(column_of_group(j0, wide), width - (wide ? 4 : 2));
    from.order = step->x_order + step->first;
    from.stride = padded(inputs);
    from.width = width;
    from.first = is_x && !ordered ? step->first : 0;
    from.end = end;
#if ROW_FRAGMENTS == 1
    if (ordered) add_rows_of_weights(&from, begin, true, wide, has_bias, sums);
    else add_rows_of_weights(&from, begin, false, wide, has_bias, sums);
#else
    if (wide) add_rows_of_weights(&from, begin, ordered, true, has_bias, sums);
    else add_rows_of_weights(&from, begin, ordered, false, has_bias, sums);
#endif
}

/* Run STATEMENT for each vector `sum` that a lane has of a fragment of a tile of weights, at row i and column o. */
#define FOR_WARP_SUMS(fragment, sums, i0, j0, STATEMENT)                                          \
    _Pragma("unroll") for (int u = 0; u < 4; u++) {                                               \
        const int i = (i0) + 2 * ROW_FRAGMENTS * GROUP + 2 * (fragment) + u % 2;                  \
        const int o = column_of_vector(u, j0, is_wide(stage, j0));                                \
        const real sum = vector_of_sums(u, sums, is_wide(stage, j0));                             \
        STATEMENT;                                                                                \
    }

/* The sum over the lanes of a warp whose numbers differ in one bit, which both of them get. */
INLINED float4 sum_of_both(float4 x, int bit) {
    return x + (float4)(of_other_lane(x.s0, bit), of_other_lane(x.s1, bit), of_other_lane(x.s2, bit), of_other_lane(x.s3, bit));
}
/* Run STATEMENT for each vector `sum` of a tile's bias, at columns o .. : the first lanes of groups have them, of every
 * second one where a group has two columns. */
#define FOR_WARP_BIAS(bias, j0, STATEMENT) {                                                      \
    const bool wide = is_wide(stage, j0);                                                         \
    real sum = sum_of_both(sum_of_both(bias, 1), 2);                                              \
    const float2 next = (float2)(of_other_lane(sum.s0, 4), of_other_lane(sum.s1, 4));             \
    sum = wide ? sum : (real)(sum.s0, sum.s1, next.s0, next.s1);                                  \
    const int o = column_of_group(j0, wide);                                                      \
    if (MEMBER == 0 && (wide || GROUP % 2 == 0)) STATEMENT;                                       \
}

#ifdef WHOLE_NETWORK
/* What follows the sums of a fragment of a tile of weights, for a lane's four vectors at once; finish_weights of dense.cl does
 * it for one. */
INLINED void finish_fragment(STEP step, STAGE stage, int fragment, int i0, int j0, const float4 *sums, Squares *squares) {
    const int width = padded(stage->outputs), first_row = i0 + 2 * ROW_FRAGMENTS * GROUP + 2 * fragment;
    global scalar *weights = step->parameters + stage->weights;
    real gradients[UPDATED_AT_ONCE], w[UPDATED_AT_ONCE];
    int at[UPDATED_AT_ONCE];
    if (stage->parts) {
        FOR_WARP_SUMS(fragment, sums, i0, j0, if (i < stage->inputs) store_gradient(step, stage, i, o, sum))
        return;
    }
    FOR_WARP_SUMS(fragment, sums, i0, j0, {
        at[u] = i < stage->inputs && o < width ? i * width + o : -1;
        gradients[u] = sum;
        w[u] = stage->losses >= 0 ? load(weights + LARGER(at[u], 0)) : (real)0;
    })
#pragma unroll
    for (int u = 0; u < UPDATED_AT_ONCE; u++)
        if (at[u] >= 0) gradients[u] = with_penalty(step, stage, first_row + u % 2, w[u], gradients[u], squares);
    if (stage->target >= 0) {
#pragma unroll
        for (int u = 0; u < UPDATED_AT_ONCE; u++)
            if (at[u] >= 0) store_for_clipping(step, stage, at[u], gradients[u], squares);
        return;
    }
    optimizer_update_apart(stage->code, gradients, at, weights, step->run->parameter_count, step->scalars);
#pragma unroll
    for (int u = 0; u < UPDATED_AT_ONCE; u++)
        if (at[u] >= 0) store_weights(step, stage, first_row + u % 2, column_of_vector(u, j0, is_wide(stage, j0)), gradients[u]);
}

/* The rows of the first of two warps that share a sum. */
#define HALF_OF_ROWS(rows) (((rows) + 31) / 32 * 16)
/* Give x to the same lane of the neighbouring warp; returns what that one gives. */
INLINED float4 exchange_with_neighbour(float4 x, local scalar *scratch) {
    local float4 *places = (local float4 *)scratch;
    places[ITEM] = x;
    SYNC_LOCAL;
    const float4 other = places[ITEM ^ 32];
    SYNC_LOCAL;
    return other;
}

/* Two neighbouring warps have summed halves of the batch for the same tile: each gets the sum of one fragment of rows, and
 * that of the bias. */
INLINED void exchange_sums(WeightSums *sums, local scalar *scratch) {
    const bool odd = ITEM / 32 % 2;
#pragma unroll
    for (int i = 0; i < 4; i++)
        sums->weights[i] = (odd ? sums->weights[4 + i] : sums->weights[i])
                           + exchange_with_neighbour(odd ? sums->weights[i] : sums->weights[4 + i], scratch);
    sums->bias += exchange_with_neighbour(sums->bias, scratch);
}

INLINED void warp_weights(STEP step, STAGE stage, int tile, local scalar *scratch) {
    const int row_tiles = (stage->inputs + WARP_ROWS - 1) / WARP_ROWS, log_slices = stage->log_slices;
    const int warp = tile * WARPS + ITEM / 32, number = warp >> log_slices;
    const int i0 = number % row_tiles * WARP_ROWS, j0 = number / row_tiles * WARP_COLUMNS;
    const int middle = stage->rows_begin + HALF_OF_ROWS(stage->rows_end - stage->rows_begin);
    const bool is_first = log_slices && warp % 2 == 0, is_second = log_slices && warp % 2;
    const int begin = is_second ? middle : stage->rows_begin;
    const int end = SMALLER(is_first ? SMALLER(middle, stage->rows_end) : stage->rows_end, step->rows);
    WeightSums sums = {{0}, 0};
    Squares squares = {0, 0};
    add_tile_of_weights(step, stage, i0, j0, begin, j0 < padded(stage->outputs) ? end : 0, &sums);
    if (log_slices) exchange_sums(&sums, scratch);
    const int first = log_slices ? warp % 2 : 0; /* one turn, which the compiler sees, where two warps share the tile */
#pragma unroll 1
    for (int f = first; f < (log_slices ? first + 1 : ROW_FRAGMENTS); f++) {
        finish_fragment(step, stage, f, i0, j0, sums.weights, &squares);
#pragma unroll
        for (int i = 0; i < SUMS - 4; i++) sums.weights[i] = sums.weights[4 + i];
    }
    if (has_bias_too(stage, i0) && !is_second)
        FOR_WARP_BIAS(sums.bias, j0, finish_weights(step, stage, stage->inputs, o, sum, &squares))
    if (!stage->parts) store_squares(step, stage, tile, squares, ITEMS, scratch);
}
#endif
