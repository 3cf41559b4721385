/* Products of a block of many rows with a small matrix, in a program for training with batches of many: a work-item makes a
 * vector of so many rows by itself, the sum in the order of b's rows, and waits for nobody. Which way a product takes follows
 * from the rows of a block; in predictions, where a row's result shall not depend on its block, few_rows.cl has one order.
 */
#define INPUTS_AT_ONCE 8
#define DEFINE_ALONE(NAME, ROWS)                                                                  \
static inline void NAME(STEP step, STAGE stage, const global scalar *b, int n0, int count) {      \
    const int inputs = stage->inputs, width = padded(stage->outputs), vectors = width / WIDTH;    \
    for (int v = ITEM; v < (count + ROWS - 1) / ROWS * vectors; v += ITEMS) {                     \
        const int n = n0 + v / vectors * ROWS, column = v % vectors * WIDTH;                      \
        const real bias = bias_of(step, stage, column);                                           \
        const global scalar *row[ROWS];                                                           \
        real c[ROWS];                                                                             \
        _Pragma("unroll") for (int r = 0; r < ROWS; r++) {                                        \
            row[r] = input_row(step, stage, SMALLER(n + r, n0 + count - 1), inputs);              \
            c[r] = 0;                                                                             \
        }                                                                                         \
        for (int begin = 0; begin < inputs; begin += INPUTS_AT_ONCE) {                            \
            real x[ROWS][INPUTS_AT_ONCE / WIDTH], w[INPUTS_AT_ONCE];                              \
            _Pragma("unroll") for (int j = 0; j < INPUTS_AT_ONCE / WIDTH; j++)                    \
                _Pragma("unroll") for (int r = 0; r < ROWS; r++)                                  \
                    x[r][j] = begin + j * WIDTH < inputs ? load(row[r] + begin + j * WIDTH) : (real)0; \
            _Pragma("unroll") for (int k = 0; k < INPUTS_AT_ONCE; k++)                            \
                w[k] = begin + k < inputs ? load(b + (size_t)(begin + k) * width + column) : (real)0; \
            _Pragma("unroll") for (int k = 0; k < INPUTS_AT_ONCE; k++)                            \
                if (begin + k < inputs)                                                           \
                    _Pragma("unroll") for (int r = 0; r < ROWS; r++)                              \
                        c[r] = MULTIPLY_ADD((real)LANE(x[r][k / WIDTH], k % WIDTH), w[k], c[r]);  \
        }                                                                                         \
        _Pragma("unroll") for (int r = 0; r < ROWS; r++)                                          \
            if (n + r < n0 + count) finish_rows(step, stage, n + r, column, c[r] + bias);         \
    }                                                                                             \
}
DEFINE_ALONE(alone_1, 1)
DEFINE_ALONE(alone_4, 4)

/* A long sum is better shared, of fewer rows at once: an item alone waits for each part of it. */
FUNCTION void dense_rows(STEP step, STAGE stage, int n0, int count, local scalar *scratch) {
    const global scalar *b = step->parameters + stage->weights;
    const int block_rows = step->run->block_rows, vectors = padded(stage->outputs) / WIDTH;
    if (stage->inputs > 4 * block_rows)
        for (int r = 0; r < count; r += ROWS_AT_ONCE) {
            narrow_8(step, stage, b, n0 + r, SMALLER(ROWS_AT_ONCE, count - r), scratch);
            SYNC_LOCAL;
        }
    else if (block_rows / 4 * vectors >= ITEMS / 2) alone_4(step, stage, b, n0, count);
    else alone_1(step, stage, b, n0, count);
}
