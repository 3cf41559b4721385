/* Register-blocked products: the inner loops of every dense layer.
 *
 * A tile is ROWS rows by `columns` <= COLUMNS vectors of the result, held in registers over the whole
 * sum. Each sum runs in an order that only its length decides, so a row's result does not depend
 * on the rows beside it. The accumulators are named by constant indices only: the loops over them
 * unroll and they never leave the registers.
 */
#define TILE_FUNCTION FUNCTION void

/* The number of a step in its run travels as the launch's global offset, so that no argument changes. */
#define BEGIN_STEP                                                                                \
    if (control[0]) return;                                                                       \
    const Step step = make_step(BUFFERS, run, get_global_id(1), get_global_id(1) % run->steps)

/* A kernel of one stage, a tile a work-item. */
#define TILE_KERNEL(NAME)                                                                         \
KERNEL NAME(STEP_ARGUMENTS, int stage) {                                                     \
    BEGIN_STEP;                                                                                   \
    const int tile = get_global_id(0);                                                            \
    if (tile < stages[stage].tiles) NAME##_tile(&step, stages + stage, tile);                     \
}

/* What functions take that a CPU and a GPU have in common; here one work-item does all. */
#define STEP const Step *
#define STAGE const global Stage *
#define ROW_ARGUMENTS STEP step, STAGE stage, int block, int n0, int count, local scalar *scratch
#define ITEM 0
#define ITEMS 1
#define X_COLUMNS(columns) (columns)
#define load_anywhere load
#define sum_slices(x, lanes, slices, scratch) (x)
#define sum_over_lanes(x, log, scratch) (x)

static inline real activated(int code, real x, const global scalar *constants) {
    activation_value(code, 1, &x, constants);
    return x;
}

/* The gradient times the derivative of an activation that needs its value alone. */
static inline real through_derivative_of(STEP step, STAGE stage, real gradient, real value) {
    activation_derivative_of(stage->activation, 1, &gradient, &value, &value,
                             step->constants + stage->activation_constants);
    return gradient;
}

/* Run STATEMENT for each vector j of rows n, `count` of them; and of the pixels n of so many samples, at (y, x) of
 * sample `sample`, after AT_ROW where a row of pixels begins and AT_PIXEL at each. */
#define FOR_ROWS_AND_VECTORS(first, count, columns, STATEMENT)                                    \
    for (int n = (first); n < (first) + (count); n++)                                             \
        for (int j = 0; j < vectors_of(columns); j++) { STATEMENT; }
#define FOR_PIXELS_AND_VECTORS(first, count, height, width, columns, AT_ROW, AT_PIXEL, STATEMENT) \
    for (int sample = (first); sample < (first) + (count); sample++)                              \
        for (int y = 0; y < (height); y++) {                                                      \
            AT_ROW;                                                                               \
            for (int x = 0; x < (width); x++) {                                                   \
                const int n = (sample * (height) + y) * (width) + x;                              \
                AT_PIXEL;                                                                         \
                for (int j = 0; j < vectors_of(columns); j++) { STATEMENT; }                      \
            }                                                                                     \
        }

/* The row of Y and sample_weight that is row n of the step, and that of X. */
static inline size_t sample_row(const Step *step, int n) {
    return step->run->ordered ? step->order[step->first + n] : step->first + n;
}
static inline size_t x_row(const Step *step, int n) {
    return step->run->ordered ? step->x_order[step->first + n] : step->first + n;
}

/* A tile: `rows` rows of `vectors` vectors. In a panel it is contiguous. */
static inline void load_tile(real *tile, int count, const global scalar *p) {
    for (int i = 0; i < count; i++) tile[i] = load(p + i * WIDTH);
}
static inline void store_tile(const real *tile, int count, global scalar *p) {
    for (int i = 0; i < count; i++) store(tile[i], p + i * WIDTH);
}

/* Zeros past the last of `columns` in every row: only the last vector has any. */
static inline void clear_padding(real *tile, int rows, int vectors, int columns) {
    if (columns < vectors * WIDTH)
        for (int r = 0; r < rows; r++)
            tile[(r + 1) * vectors - 1] = without_padding(tile[(r + 1) * vectors - 1], columns - (vectors - 1) * WIDTH);
}

/* The same for a tile in memory. */
static inline void clear_stored_padding(global scalar *tile, int rows, int vectors, int columns) {
    if (columns < vectors * WIDTH)
        for (int r = 0; r < rows; r++) {
            global scalar *last = tile + ((r + 1) * vectors - 1) * WIDTH;
            store(without_padding(load(last), columns - (vectors - 1) * WIDTH), last);
        }
}

/* A tile of W: rows [row, row + rows), the bias a tile of its own at the end of every panel. */
typedef struct {
    int row, rows, o0, width, vectors;
    bool is_bias;
    size_t at;
} WeightTile;

static inline WeightTile weight_tile(const global Stage *stage, int tile_number) {
    const int row_tiles = (stage->inputs + ROWS - 1) / ROWS + stage->bias, t = tile_number % row_tiles;
    WeightTile w;
    w.o0 = tile_number / row_tiles * PANEL;
    w.is_bias = stage->bias && t == row_tiles - 1;
    w.row = w.is_bias ? stage->inputs : t * ROWS;
    w.rows = w.is_bias ? 1 : SMALLER(ROWS, stage->inputs - w.row);
    w.width = panel_width(w.o0, stage->outputs);
    w.vectors = w.width / WIDTH;
    w.at = (size_t)w.o0 * (stage->inputs + stage->bias) + (size_t)w.row * w.width;
    return w;
}

/* The accumulators c += a number FACTOR of each row r times the row of b. */
#define ADD_ROW_OF_PRODUCTS(VECTORS, FACTOR)                                                      \
    real v[VECTORS];                                                                              \
    _Pragma("unroll") for (int j = 0; j < VECTORS; j++) v[j] = load(b + j * WIDTH);               \
    _Pragma("unroll") for (int r = 0; r < ROWS; r++) {                                            \
        const real s = (real)(FACTOR);                                                            \
        _Pragma("unroll") for (int j = 0; j < VECTORS; j++)                                       \
            c[r * VECTORS + j] = MULTIPLY_ADD(s, v[j], c[r * VECTORS + j]);                       \
    }

/* tile = ROWS rows of a matrix of k columns times k rows of b, a panel of `columns` vectors, and of `first` unless that is 0.
 * The matrix lies in panels of `panel` columns, `batch` rows each, the last as wide as `padded` leaves; its rows are those of
 * `row`. A matrix by rows is one panel. */
#define DEFINE_MULTIPLY(NAME, VECTORS)                                                            \
static inline void NAME(const global scalar *left, const size_t *row, int k, int panel, int padded, int batch, \
                        const global scalar *b, const global scalar *first, real *tile) {         \
    real c[ROWS * VECTORS];                                                                       \
    _Pragma("unroll") for (int i = 0; i < ROWS * VECTORS; i++)                                    \
        c[i] = first ? load(first + i % VECTORS * WIDTH) : (real)0;                               \
    for (int begin = 0; begin < k; begin += panel) {                                              \
        const int width = SMALLER(panel, padded - begin), count = SMALLER(panel, k - begin);              \
        const global scalar *a[ROWS];                                                             \
        _Pragma("unroll") for (int r = 0; r < ROWS; r++)                                          \
            a[r] = left + (size_t)begin * batch + row[r] * width;                                 \
        for (int p = 0; p < count; p++, b += VECTORS * WIDTH) {                                   \
            ADD_ROW_OF_PRODUCTS(VECTORS, a[r][p]);                                                \
        }                                                                                         \
    }                                                                                             \
    _Pragma("unroll") for (int i = 0; i < ROWS * VECTORS; i++) tile[i] = c[i];                    \
}

/* tile = transpose of ROWS columns of a times n rows of b; row i of a is at a + index[i] * stride,
 * or at a + i * stride where there is no index. */
#define DEFINE_MULTIPLY_TRANSPOSED(NAME, VECTORS)                                                 \
static inline void NAME(const global scalar *a, const global int *index, int stride,              \
                        const global scalar *b, int n, real *tile) {                              \
    real c[ROWS * VECTORS];                                                                       \
    _Pragma("unroll") for (int i = 0; i < ROWS * VECTORS; i++) c[i] = 0;                          \
    for (int p = 0; p < n; p++, b += VECTORS * WIDTH) {                                           \
        const global scalar *row = a + (size_t)(index ? index[p] : p) * stride;                   \
        ADD_ROW_OF_PRODUCTS(VECTORS, row[r]);                                                     \
    }                                                                                             \
    _Pragma("unroll") for (int i = 0; i < ROWS * VECTORS; i++) tile[i] = c[i];                    \
}

DEFINE_MULTIPLY(multiply_1, 1)
DEFINE_MULTIPLY_TRANSPOSED(multiply_transposed_1, 1)
#if COLUMNS > 1
DEFINE_MULTIPLY(multiply_2, 2)
DEFINE_MULTIPLY_TRANSPOSED(multiply_transposed_2, 2)
#endif
#if COLUMNS > 2
DEFINE_MULTIPLY(multiply_3, 3)
DEFINE_MULTIPLY_TRANSPOSED(multiply_transposed_3, 3)
#endif

#if ROWS <= WIDTH
/* The same for a matrix b of one column, whose numbers lie WIDTH apart: the lanes run along the sum, not along columns
 * of which all but one are padding. */
static inline void multiply_column(const global scalar *left, const size_t *row, int k, int panel, int padded, int batch,
                                   const global scalar *b, const global scalar *first, real *tile) {
    const real start = first ? load(first) : (real)0;
    real c[ROWS];
    _Pragma("unroll") for (int r = 0; r < ROWS; r++) c[r] = 0;
    for (int begin = 0; begin < k; begin += PANEL) {
        const int panel_begin = begin / panel * panel, count = SMALLER(PANEL, k - begin);
        const int width = SMALLER(panel, padded - panel_begin);
        const global scalar *a = left + (size_t)panel_begin * batch + (begin - panel_begin);
        scalar factors[PANEL];
        for (int p = 0; p < PANEL; p++) factors[p] = p < count ? b[(size_t)(begin + p) * WIDTH] : (scalar)0;
        for (int p = 0; p < count; p += WIDTH) {
            const real v = load_private(factors + p);
            _Pragma("unroll") for (int r = 0; r < ROWS; r++)
                c[r] = MULTIPLY_ADD(without_padding(load(a + row[r] * width + p), count - p), v, c[r]);
        }
    }
    _Pragma("unroll") for (int r = 0; r < ROWS; r++) tile[r] = start + (LANES < 1 ? (real)lane_sum(c[r]) : (real)0);
}

/* tile = the transposed product with one column: the lanes are the ROWS columns of a. Four sums, so that additions need
 * not wait. */
static inline void multiply_transposed_column(const global scalar *a, const global int *index, int stride,
                                              const global scalar *b, int n, real *tile) {
    real c[4] = {0, 0, 0, 0};
    scalar lanes[WIDTH];
    for (int p = 0; p < n; p += 4)
        _Pragma("unroll") for (int q = 0; q < 4; q++)
            if (p + q < n)
                c[q] = MULTIPLY_ADD(load(a + (size_t)(index ? index[p + q] : p + q) * stride),
                                    (real)(b[(size_t)(p + q) * WIDTH]), c[q]);
    store_private((c[0] + c[1]) + (c[2] + c[3]), lanes);
    for (int r = 0; r < ROWS; r++) tile[r] = LANES < 1 ? (real)lanes[r] : (real)0;
}
#endif

static inline void multiply(int vectors, const global scalar *left, const size_t *row, int k, int panel, int padded,
                            int batch, const global scalar *b, const global scalar *first, real *tile) {
#if COLUMNS > 2
    if (vectors == 3) { multiply_3(left, row, k, panel, padded, batch, b, first, tile); return; }
#endif
#if COLUMNS > 1
    if (vectors == 2) { multiply_2(left, row, k, panel, padded, batch, b, first, tile); return; }
#endif
    multiply_1(left, row, k, panel, padded, batch, b, first, tile);
}

static inline void multiply_transposed(int vectors, const global scalar *a, const global int *index, int stride,
                                       const global scalar *b, int n, real *tile) {
#if COLUMNS > 2
    if (vectors == 3) { multiply_transposed_3(a, index, stride, b, n, tile); return; }
#endif
#if COLUMNS > 1
    if (vectors == 2) { multiply_transposed_2(a, index, stride, b, n, tile); return; }
#endif
    multiply_transposed_1(a, index, stride, b, n, tile);
}
