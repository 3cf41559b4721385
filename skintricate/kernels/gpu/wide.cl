/* Wide products, a tile of stage->size x stage->size by a work-group. Tiles of a stage: row tiles run fastest. */

#ifndef WHOLE_NETWORK
#define DEFINE_SUM(NAME, PARAMETERS, ...)                                                         \
static inline void NAME PARAMETERS {                                                              \
    if (stage->size == 16) JOIN(NAME, _16)(__VA_ARGS__);                                          \
    else if (stage->size == 32) JOIN(NAME, _32)(__VA_ARGS__);                                     \
    IF_64(else JOIN(NAME, _64)(__VA_ARGS__);)                                                     \
}
#if LARGEST_SIZE >= 64
#define IF_64(STATEMENT) STATEMENT
#else
#define IF_64(STATEMENT)
#endif
DEFINE_SUM(sum_forward, (STEP step, STAGE stage, int r0, int j0, local scalar *scratch), step, stage, r0, j0, scratch)
DEFINE_SUM(sum_input, (STEP step, STAGE stage, int r0, int j0, local scalar *scratch), step, stage, r0, j0, scratch)
DEFINE_SUM(sum_weights, (STEP step, STAGE stage, int part, int r0, int j0, local scalar *scratch), step, stage, part, r0, j0,
           scratch)

/* Run STATEMENT for each vector `sum` of the tile, at row r and column j of the result. */
#define FOR_SUMS(STATEMENT)                                                                       \
    const int row_vectors = stage->size / WIDTH, vectors = stage->size * row_vectors;             \
    for (int v = ITEM; v < vectors; v += ITEMS) {                                                 \
        const real sum = ((local real *)scratch)[v] + ((local real *)scratch)[v + vectors];       \
        const int r = r0 + v / row_vectors, j = j0 + v % row_vectors * WIDTH;                     \
        STATEMENT;                                                                                \
    }                                                                                             \
    SYNC_LOCAL

static inline void wide_rows(STEP step, STAGE stage, int tile, local scalar *scratch) {
    const int row_tiles = (step->run->batch_size + stage->size - 1) / stage->size;
    const int r0 = tile % row_tiles * stage->size, j0 = tile / row_tiles * stage->size;
    if (r0 >= step->rows) return;
    if (stage->kind == DENSE_FORWARD) sum_forward(step, stage, r0, j0, scratch);
    else sum_input(step, stage, r0, j0, scratch);
    FOR_SUMS(finish_rows(step, stage, r, j, sum + bias_of(step, stage, j)));
}

static inline void wide_weights(STEP step, STAGE stage, int tile, local scalar *scratch) {
    const int row_tiles = (stage->inputs + stage->bias + stage->size - 1) / stage->size;
    const int part = part_of_tile(stage, tile), tile_of_part = tile - part * tiles_of_part(stage);
    const int r0 = tile_of_part % row_tiles * stage->size, j0 = tile_of_part / row_tiles * stage->size;
    Squares squares = {0, 0};
    sum_weights(step, stage, part, r0, j0, scratch);
    FOR_SUMS(finish_part(step, stage, part, r, j, sum, &squares));
    if (!stage->parts) store_squares(step, stage, tile, squares, ITEMS, scratch);
}
#endif

/* The weights' gradient where rows are few: a work-item sums a vector of it, with all rows. Small layers often begin at
 * different warps, which then work at once. */
static inline void few_weights(STEP step, STAGE stage, int tile, local scalar *scratch) {
    const int first_item = stage->weights / WIDTH % (ITEMS / 32) * 32;
    const int width = padded(stage->outputs), vectors = width / WIDTH, v = tile * ITEMS + (ITEM - first_item + ITEMS) % ITEMS;
    const int i = v / vectors, o = v % vectors * WIDTH, end = SMALLER(stage->rows_end, step->rows);
    const global scalar *dz = step->workspace + stage->gradient + o;
    Squares squares = {0, 0};
    real sum = 0;
    if (i < stage->inputs + stage->bias)
#pragma unroll 4
        for (int n = 0; n < end; n++) {
            const scalar x = i < stage->inputs ? input_row(step, stage, n, stage->inputs)[i] : (scalar)1;
            sum = MULTIPLY_ADD((real)x, load(dz + (size_t)n * width), sum);
        }
    finish_weights(step, stage, i, o, sum, &squares);
    if (!stage->parts) store_squares(step, stage, tile, squares, ITEMS, scratch);
}

/* A tile of a stage of weights that multiplies nothing. */
static inline void run_update(STEP step, STAGE stage, int tile, local scalar *scratch) {
    switch (stage->kind) {
    case DENSE_ADD_PARTS: add_parts(step, stage, tile, scratch); break;
    case CLIP_FACTOR: clip_gradients(step, stage, scratch); break;
    case DENSE_UPDATE: update_clipped(step, stage, tile); break;
#ifdef OPTIONAL
    default: optional_tile(step, stage, tile);
#endif
    }
}

/* Where a group trains a network by itself, its products are made by warps. */
#ifdef WHOLE_NETWORK
#define product_of_rows(step, stage, tile, scratch) warp_rows(step, stage, tile)
#define product_of_weights warp_weights
#else
#define product_of_rows wide_rows
#define product_of_weights wide_weights
#endif

/* A tile of a stage that is not a block of rows. */
FUNCTION void run_tile(STEP step, STAGE stage, int tile, local scalar *scratch) {
    switch (stage->kind) {
    case DENSE_FORWARD:
    case DENSE_BACKWARD_INPUT: product_of_rows(step, stage, tile, scratch); break;
    case DENSE_BACKWARD_WEIGHTS:
        if (stage->size == 0) few_weights(step, stage, tile, scratch);
        else product_of_weights(step, stage, tile, scratch);
        break;
#ifdef CONVOLUTION
    case CONVOLUTION_BACKWARD_WEIGHTS: convolution_weights(step, stage, tile, scratch); break;
#endif
#ifdef SPARSE
    case SPARSE_BACKWARD_WEIGHTS: sparse_backward_weights(step, stage, tile); break;
#endif
    default: run_update(step, stage, tile, scratch);
    }
}
