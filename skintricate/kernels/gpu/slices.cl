/* Narrow products of a large batch, by warps (warp.cl): where a group has fewer tiles than warps, neighbours sum parts of the
 * same one. narrow.cl is its twin where batches are smaller.
 */

/* Warps for each of so many tiles: a power of two. */
static inline int slices_of(int tiles) {
    int slices = 1;
    while (2 * slices * tiles <= WARPS) slices *= 2;
    return slices;
}

/* The first of so many neighbouring warps gets the sum of what all have summed. */
INLINED void join_slices(float4 *sums, int slices, local scalar *scratch) {
    local float4 *mine = (local float4 *)scratch + ITEM / 32 * 128 + ITEM % 32;
    if (slices == 1) return;
#pragma unroll
    for (int i = 0; i < 4; i++) mine[32 * i] = sums[i];
    SYNC_LOCAL;
    if (ITEM / 32 % slices == 0)
        for (int slice = 1; slice < slices; slice++)
#pragma unroll
            for (int i = 0; i < 4; i++) sums[i] += mine[128 * slice + 32 * i];
    SYNC_LOCAL;
}

/* Rows n0 .. of a product, `count` of them; how a sum is shared follows from the size of a full block. */
static inline void dense_rows(STEP step, STAGE stage, int n0, int count, local scalar *scratch) {
    const int row_tiles = (step->run->block_rows + WARP_ROWS - 1) / WARP_ROWS;
    const int tiles = row_tiles * ((padded(stage->outputs) + WARP_COLUMNS - 1) / WARP_COLUMNS);
    const int slices = slices_of(tiles), slice = ITEM / 32 % slices;
    const int share = (padded(stage->inputs) + 16 * slices - 1) / (16 * slices) * 16;
    for (int number = ITEM / 32 / slices; number - ITEM / 32 / slices < tiles; number += WARPS / slices) {
        const int row = number % row_tiles * WARP_ROWS, r0 = n0 + row, j0 = number / row_tiles * WARP_COLUMNS;
        const bool works = number < tiles && row < count;
        float4 sums[SUMS] = {0};
        if (slice == 0) begin_tile_of_rows(step, stage, j0, sums);
        const int begin = slice * share, end = SMALLER(begin + share, padded(stage->inputs));
        if (works) add_tile_of_rows(step, stage, r0, j0, begin, end, sums);
        join_slices(sums, slices, scratch);
        if (works && slice == 0) finish_tile_of_rows(step, stage, r0, j0, sums);
    }
}

/* A tile of the sums of few weights: the warps share the rows of the batch. */
static inline void narrow_weights(STEP step, STAGE stage, int tile, local scalar *scratch) {
    const int row_tiles = (stage->inputs + WARP_ROWS - 1) / WARP_ROWS;
    const int i0 = tile % row_tiles * WARP_ROWS, j0 = tile / row_tiles * WARP_COLUMNS;
    const int rows = stage->rows_end - stage->rows_begin, share = (rows + 8 * WARPS - 1) / (8 * WARPS) * 8;
    const int begin = stage->rows_begin + ITEM / 32 * share, end = SMALLER(stage->rows_end, step->rows);
    WeightSums sums = {{0}, 0};
    add_tile_of_weights(step, stage, i0, j0, begin, SMALLER(begin + share, end), &sums);
    join_slices(sums.weights, WARPS, scratch);
    if (ITEM < 32) FOR_WARP_SUMS(0, sums.weights, i0, j0, if (i < stage->inputs) store_gradient(step, stage, i, o, sum))
    if (!has_bias_too(stage, i0)) return;
    float4 bias[4] = {sums.bias}; /* as many vectors as are joined, the others zero */
    join_slices(bias, WARPS, scratch);
    if (ITEM < 32) FOR_WARP_BIAS(bias[0], j0, store_gradient(step, stage, stage->inputs, o, sum))
}
