/* Products of a block of rows with a small matrix, by one work-group: result = rows times b, b of I rows by O columns.
 * slices.cl is its twin for large batches.
 *
 * A work-item sums one vector of columns of every row of the block, over its slice of the rows of b: every `slices`-th.
 * Slices follow from I and O, so a row's result does not depend on its block. What comes from global memory is asked
 * for at once: at these sizes waiting for it is all that takes time.
 */

/* BLOCK rows of the stage's result, those past `count` being nobody's; AHEAD rows of b are asked for before the block
 * is there. */
#define DEFINE_NARROW(NAME, BLOCK, AHEAD)                                                         \
static inline void NAME(STEP step, STAGE stage, const global scalar *b, int n0, int count, \
                        local scalar *scratch) {                                                  \
    const int inputs = stage->inputs, width = padded(stage->outputs), chunk = CHUNK_SCALARS / BLOCK; \
    const int first_column = ITEM % (chunk / WIDTH) * WIDTH;                                      \
    const global scalar *row = input_row(step, stage, n0 + SMALLER(ITEM / (chunk / WIDTH), count - 1), inputs) + first_column; \
    const int log_lanes = stage->log_lanes, lanes = 1 << log_lanes, slices = 1 << stage->log_slices; \
    const int slice = ITEM >> log_lanes, sum_size = BLOCK << log_lanes;                           \
    local real *sums = (local real *)(scratch + CHUNK_SCALARS);                                   \
    for (int column = (ITEM & (lanes - 1)) * WIDTH; column - (ITEM & (lanes - 1)) * WIDTH < width; column += lanes * WIDTH) { \
        const bool inside = column < width, works = inside && slice < slices;                     \
        const real bias = bias_of(step, stage, column);                                           \
        real c[BLOCK];                                                                            \
        _Pragma("unroll") for (int r = 0; r < BLOCK; r++) c[r] = 0;                               \
        real mine = first_column < inputs ? load(row) : (real)0;                                  \
        for (int begin = 0; begin < inputs; begin += chunk) {                                     \
            const int length = SMALLER(chunk, inputs - begin);                                    \
            const global scalar *p = b + (size_t)(begin + slice) * width + column;                \
            real ahead[AHEAD];                                                                    \
            _Pragma("unroll") for (int j = 0; j < AHEAD; j++)                                     \
                ahead[j] = works && slice + j * slices < length ? load(p + (size_t)(j * slices) * width) : (real)0; \
            ((local real *)scratch)[ITEM] = mine;                                                 \
            if (begin + chunk + first_column < inputs) mine = load(row + begin + chunk);          \
            SYNC_LOCAL;                                                                           \
            if (works) {                                                                          \
                _Pragma("unroll") for (int j = 0; j < AHEAD; j++)                                 \
                    if (slice + j * slices < length)                                              \
                        _Pragma("unroll") for (int r = 0; r < BLOCK; r++)                         \
                            c[r] = MULTIPLY_ADD((real)(scratch[r * chunk + slice + j * slices]), ahead[j], c[r]); \
                for (int k = slice + AHEAD * slices; k < length; k += slices) {                   \
                    const real v = load(p + (size_t)(k - slice) * width);                         \
                    _Pragma("unroll") for (int r = 0; r < BLOCK; r++)                             \
                        c[r] = MULTIPLY_ADD((real)(scratch[r * chunk + k]), v, c[r]);             \
                }                                                                                 \
            }                                                                                     \
            if (begin + chunk < inputs) SYNC_LOCAL;                                               \
        }                                                                                         \
        if (slice < slices)                                                                       \
            _Pragma("unroll") for (int r = 0; r < BLOCK; r++)                                     \
                sums[slice * sum_size + (r << log_lanes) + (ITEM & (lanes - 1))] = c[r];          \
        SYNC_LOCAL;                                                                               \
        int left = slices;                                                                        \
        for (; left > 16; left /= 4) {                                                            \
            const int quarter = left / 4 * sum_size;                                              \
            for (int i = ITEM; i < quarter; i += ITEMS)                                           \
                sums[i] = (sums[i] + sums[i + quarter]) + (sums[i + 2 * quarter] + sums[i + 3 * quarter]); \
            SYNC_LOCAL;                                                                           \
        }                                                                                         \
        for (int i = ITEM; i < count << log_lanes; i += ITEMS) {                                  \
            real total = sums[i];                                                                 \
            for (int s = 1; s < left; s++) total += sums[i + s * sum_size];                       \
            finish_rows(step, stage, n0 + (i >> log_lanes), column, total + bias);                \
        }                                                                                         \
        if (lanes * WIDTH < width) SYNC_LOCAL;                                                    \
    }                                                                                             \
}

DEFINE_NARROW(narrow_8, ROWS_AT_ONCE, 4)
