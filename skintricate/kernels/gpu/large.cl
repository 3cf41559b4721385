/* Large products, each a launch of its own: the frame of their kernels. A work-group of TENSOR_ITEMS work-items makes a
 * tile of 128 x 128 of the result, on tensor cores (tensor.cl, wgmma.cl).
 */
#ifndef TENSOR_ITEMS
#define TENSOR_ITEMS 256
#endif
#define TENSOR_ROWS 128
#define TENSOR_COLUMNS 128
#define RESULT_STRIDE (TENSOR_COLUMNS + 4)
/* Local memory: what comes from global memory, then half a result. */
#define RING_OR_HALF(ring) (64 * RESULT_STRIDE > (ring) ? 64 * RESULT_STRIDE : (ring))

#define LARGE_KERNEL kernel __attribute__((reqd_work_group_size(TENSOR_ITEMS, 1, 1))) void
/* What they begin with: the step, and which stage the tile is of. Whatever is read is asked for at once, a word an item:
 * LARGE_TABLE stages at a time. */
#define LARGE_TABLE 16
#define WORDS(table) ((int)(sizeof(table) / sizeof(int)))
#define BEGIN_LARGE                                                                               \
    local Stage table[LARGE_TABLE], row[1];                                                       \
    local Step steps[1];                                                                          \
    local Run runs[2];                                                                            \
    const bool has_stopped = control[0];                                                          \
    int tile = get_group_id(0) + get_global_offset(0) / TENSOR_ITEMS, found = 0;                  \
    for (;; first_stage += LARGE_TABLE) {                                                         \
        const int count = SMALLER(LARGE_TABLE, end_stage - first_stage);                          \
        copy_large_tables(run, runs, stages + first_stage, table, count);                         \
        SYNC_LOCAL;                                                                               \
        for (found = 0; found < count && tile >= table[found].tiles; found++)                     \
            tile -= table[found].tiles;                                                           \
        if (found < count || first_stage + LARGE_TABLE >= end_stage) break;                       \
        SYNC_LOCAL;                                                                               \
    }                                                                                             \
    if (has_stopped) return;                                                                      \
    if (ITEM < WORDS(Stage)) ((local int *)row)[ITEM] = ((local int *)(table + found))[ITEM];     \
    if (ITEM == 0)                                                                                \
        *steps = make_step(BUFFERS, runs, get_global_id(1), get_global_id(1) % runs->steps);      \
    SYNC_LOCAL;                                                                                   \
    STAGE stage = row;                                                                            \
    STEP step = steps;
static inline void copy_large_tables(const global Run *run, local Run *runs, const global Stage *stages,
                                     local Stage *table, int count) {
    const int run_words = 2 * WORDS(Run), stage_words = count * WORDS(Stage);
    int of_runs, of_stages[(LARGE_TABLE * WORDS(Stage) + TENSOR_ITEMS - 1) / TENSOR_ITEMS];
    of_runs = ((const global int *)run)[SMALLER(ITEM, run_words - 1)];
#pragma unroll
    for (int i = 0; i < WORDS(of_stages); i++)
        of_stages[i] = ((const global int *)stages)[SMALLER(ITEM + i * TENSOR_ITEMS, stage_words - 1)];
    if (ITEM < run_words) ((local int *)runs)[ITEM] = of_runs;
#pragma unroll
    for (int i = 0; i < WORDS(of_stages); i++)
        if (ITEM + i * TENSOR_ITEMS < stage_words) ((local int *)table)[ITEM + i * TENSOR_ITEMS] = of_stages[i];
}
/* Where the tile lies: of rows of the batch, row tiles run fastest; of weights, columns do: tiles that follow each other
 * make rows of weights that do. */
#define TILE_OF_ROWS                                                                              \
    const int row_tiles = (runs->batch_size + TENSOR_ROWS - 1) / TENSOR_ROWS;                     \
    const int r0 = tile % row_tiles * TENSOR_ROWS, j0 = tile / row_tiles * TENSOR_COLUMNS;        \
    if (r0 >= step->rows) return;
#define TILE_OF_WEIGHTS                                                                           \
    const int column_tiles = (stage->outputs + TENSOR_COLUMNS - 1) / TENSOR_COLUMNS;              \
    const int r0 = tile / column_tiles * TENSOR_ROWS, j0 = tile % column_tiles * TENSOR_COLUMNS;

/* Run STATEMENT for each vector `sum` of the tile at (r0, j0), at row r and column j of the result, AT_ONCE of them after
 * what each needs, OPERAND into y, has been asked for. A work-item has one column. store_half puts 64 rows of the sums
 * `c`, which lie in fragments, into scratch. */
#define FOR_LARGE_SUMS(OPERAND, STATEMENT)                                                        \
    const int j = j0 + ITEM % (TENSOR_COLUMNS / 4) * 4;                                           \
    for (int half_ = 0; half_ < 2; half_++) {                                                     \
        store_half(c, half_, scratch);                                                            \
        SYNC_LOCAL;                                                                               \
        for (int begin = ITEM / (TENSOR_COLUMNS / 4); begin < 64; begin += AT_ONCE * ITEM_STEP) { \
            Activated y[AT_ONCE];                                                                 \
            _Pragma("unroll") for (int u = 0; u < AT_ONCE; u++) {                                 \
                const int r = r0 + half_ * 64 + begin + u * ITEM_STEP;                            \
                OPERAND;                                                                          \
            }                                                                                     \
            _Pragma("unroll") for (int u = 0; u < AT_ONCE; u++) {                                 \
                const int row = begin + u * ITEM_STEP, r = r0 + half_ * 64 + row;                 \
                const real sum = *(local real *)(scratch + row * RESULT_STRIDE + j - j0);         \
                STATEMENT;                                                                        \
            }                                                                                     \
        }                                                                                         \
        SYNC_LOCAL;                                                                               \
    }
#define ITEM_STEP (TENSOR_ITEMS / (TENSOR_COLUMNS / 4))
