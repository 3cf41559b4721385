/* Gradients of weights by warps; see warp.cl. Where a group has fewer tiles than would keep its warps busy, two neighbours
 * share the rows of each, and exchange what they have summed.
 */

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
        const int n = SMALLER(n0 + MEMBER + 4 * q, from->end - 1);
        rows[q] = ordered ? from->order[n] : from->first + n;
    }
}
/* The 16 rows from n0 on; `whole`, `wide` and the loads are as above. */
INLINED WeightSteps load_weight_steps(const WeightOperands *from, int n0, const int *rows, bool whole, bool wide) {
    WeightSteps steps;
#pragma unroll
    for (int q = 0; q < 4; q++) {
        const int n = n0 + MEMBER + 4 * q;
        const size_t row = (size_t)(whole ? n : SMALLER(n, from->end - 1)) * from->width;
        steps.x[q] = load_columns(from->x + (size_t)rows[q] * from->stride, ROW_FRAGMENTS == 2);
        steps.dz[q] = load_columns(from->dz + row, wide);
    }
    if (whole) return steps;
#pragma unroll
    for (int q = 0; q < 4; q++) {
        const bool inside = n0 + MEMBER + 4 * q < from->end;
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
    const int inputs = stage->inputs, width = padded(stage->outputs), i = i0 + 2 * ROW_FRAGMENTS * GROUP;
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

/* Run STATEMENT for so many vectors `sum` that a lane has of a tile of weights, from a fragment on, at row i and column o. */
#define FOR_WARP_SUMS(count, fragment, sums, i0, j0, STATEMENT)                                   \
    _Pragma("unroll") for (int u = 0; u < count; u++) {                                           \
        const int i = (i0) + 2 * ROW_FRAGMENTS * GROUP + 2 * (u / 4 + (fragment)) + u % 2;        \
        const int o = column_of_vector(u, j0, is_wide(stage));                                    \
        const real sum = vector_of_sums(u, sums, is_wide(stage));                                 \
        STATEMENT;                                                                                \
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
        if (at[u] >= 0) store_weights(step, stage, first_row + u % 2, column_of_vector(u, j0, is_wide(stage)), gradients[u]);
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
    const int middle = stage->rows_begin + HALF_OF_ROWS(stage->rows_end - stage->rows_begin);
    const bool is_first = log_slices && warp % 2 == 0, is_second = log_slices && warp % 2;
    const int begin = is_second ? middle : stage->rows_begin;
    const int end = SMALLER(is_first ? SMALLER(middle, stage->rows_end) : stage->rows_end, step->rows);
    float4 sums[SUMS] = {0};
    Squares squares = {0, 0};
    add_tile_of_weights(step, stage, i0, j0, begin, j0 < padded(stage->outputs) ? end : 0, sums);
    if (log_slices) {
        exchange_fragments(sums, scratch);
        finish_fragment(step, stage, warp % 2, i0, j0, sums, &squares);
    } else {
#pragma unroll
        for (int f = 0; f < ROW_FRAGMENTS; f++) finish_fragment(step, stage, f, i0, j0, sums + 4 * f, &squares);
    }
    if (!stage->parts) store_squares(step, stage, tile, squares, ITEMS, scratch);
}
#endif
