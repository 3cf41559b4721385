/* Register-blocked products of a convolution: the inner loops of `convolution.cl`, as `tile.cl` has those of dense layers. */

/* The left operand of a convolution: an image of `pixels` rows a sample, in panels, or X by rows. */
typedef struct {
    const global scalar *values;
    int columns, panel, padded, pixels;
    size_t rows;
} Left;

static inline Left left_of(const Step *step, int source, int columns, int pixels) {
    Left left;
    left.values = source < 0 ? step->X : step->workspace + source;
    left.columns = columns;
    left.panel = source < 0 ? columns : PANEL;
    left.padded = source < 0 ? columns : (columns + WIDTH - 1) / WIDTH * WIDTH;
    left.pixels = pixels;
    left.rows = (size_t)step->run->batch_size * pixels;
    return left;
}

/* tile += the pixels that the taps ys and xs meet, `image_width` a row, times the rows of b that belong to them. `row`
 * is pixel 0 of every sample. */
#define DEFINE_MULTIPLY_WINDOW(NAME, VECTORS)                                                     \
static inline void NAME(Left left, const size_t *row, Taps ys, Taps xs, int image_width, int kernel_width, \
                        const global scalar *weights, real *tile) {                               \
    real c[ROWS * VECTORS];                                                                       \
    _Pragma("unroll") for (int i = 0; i < ROWS * VECTORS; i++) c[i] = tile[i];                    \
    for (int ky = 0; ky < ys.count; ky++)                                                         \
        for (int kx = 0; kx < xs.count; kx++) {                                                   \
            const int pixel = place_of(ys, ky) * image_width + place_of(xs, kx);                  \
            const global scalar *b = weights + (size_t)(tap_of(ys, ky) * kernel_width + tap_of(xs, kx)) \
                                                   * (left.columns * VECTORS * WIDTH);            \
            for (int begin = 0; begin < left.columns; begin += left.panel) {                      \
                const int width = SMALLER(left.panel, left.padded - begin);                       \
                const int count = SMALLER(left.panel, left.columns - begin);                      \
                const global scalar *a[ROWS];                                                     \
                _Pragma("unroll") for (int r = 0; r < ROWS; r++)                                  \
                    a[r] = left.values + (size_t)begin * left.rows + (row[r] + pixel) * width;    \
                for (int p = 0; p < count; p++, b += VECTORS * WIDTH) {                           \
                    ADD_ROW_OF_PRODUCTS(VECTORS, a[r][p]);                                        \
                }                                                                                 \
            }                                                                                     \
        }                                                                                         \
    _Pragma("unroll") for (int i = 0; i < ROWS * VECTORS; i++) tile[i] = c[i];                    \
}

/* Channels of so few numbers are gathered: the loop over a window runs through a list of where its numbers lie. */
#define FEW_CHANNELS 16
#define MOST_OFFSETS 256

/* The same for a window that lies inside the image, whose `count` numbers lie at these offsets from `row`. */
#define DEFINE_MULTIPLY_LIST(NAME, VECTORS)                                                       \
static inline void NAME(const global scalar *const *row, const int *offset, int count, const global scalar *b, \
                        real *tile) {                                                             \
    real c[ROWS * VECTORS];                                                                       \
    _Pragma("unroll") for (int i = 0; i < ROWS * VECTORS; i++) c[i] = tile[i];                    \
    for (int p = 0; p < count; p++, b += VECTORS * WIDTH) {                                       \
        const int place = offset[p];                                                              \
        ADD_ROW_OF_PRODUCTS(VECTORS, row[r][place]);                                              \
    }                                                                                             \
    _Pragma("unroll") for (int i = 0; i < ROWS * VECTORS; i++) tile[i] = c[i];                    \
}

/* tile += for each row r the numbers at a[r], `stride` apart, times n rows of b. */
#define DEFINE_ADD_PRODUCTS(NAME, VECTORS)                                                        \
static inline void NAME(const global scalar **a, int stride, const global scalar *b, int n, real *tile) { \
    real c[ROWS * VECTORS];                                                                       \
    _Pragma("unroll") for (int i = 0; i < ROWS * VECTORS; i++) c[i] = tile[i];                    \
    for (int p = 0; p < n; p++, b += VECTORS * WIDTH) {                                           \
        ADD_ROW_OF_PRODUCTS(VECTORS, a[r][(size_t)p * stride]);                                   \
    }                                                                                             \
    _Pragma("unroll") for (int i = 0; i < ROWS * VECTORS; i++) tile[i] = c[i];                    \
}

DEFINE_MULTIPLY_WINDOW(multiply_window_1, 1)
DEFINE_ADD_PRODUCTS(add_products_1, 1)
DEFINE_MULTIPLY_LIST(multiply_list_1, 1)
#if COLUMNS > 1
DEFINE_MULTIPLY_WINDOW(multiply_window_2, 2)
DEFINE_ADD_PRODUCTS(add_products_2, 2)
DEFINE_MULTIPLY_LIST(multiply_list_2, 2)
#endif
#if COLUMNS > 2
DEFINE_MULTIPLY_WINDOW(multiply_window_3, 3)
DEFINE_ADD_PRODUCTS(add_products_3, 3)
DEFINE_MULTIPLY_LIST(multiply_list_3, 3)
#endif

static inline void multiply_window(int vectors, Left left, const size_t *row, Taps ys, Taps xs, int image_width,
                                   int kernel_width, const global scalar *b, real *tile) {
#if COLUMNS > 2
    if (vectors == 3) { multiply_window_3(left, row, ys, xs, image_width, kernel_width, b, tile); return; }
#endif
#if COLUMNS > 1
    if (vectors == 2) { multiply_window_2(left, row, ys, xs, image_width, kernel_width, b, tile); return; }
#endif
    multiply_window_1(left, row, ys, xs, image_width, kernel_width, b, tile);
}

static inline void add_products(int vectors, const global scalar **a, int stride, const global scalar *b, int n,
                                real *tile) {
#if COLUMNS > 2
    if (vectors == 3) { add_products_3(a, stride, b, n, tile); return; }
#endif
#if COLUMNS > 1
    if (vectors == 2) { add_products_2(a, stride, b, n, tile); return; }
#endif
    add_products_1(a, stride, b, n, tile);
}

static inline void multiply_list(int vectors, const global scalar *const *row, const int *offset, int count,
                                 const global scalar *b, real *tile) {
#if COLUMNS > 2
    if (vectors == 3) { multiply_list_3(row, offset, count, b, tile); return; }
#endif
#if COLUMNS > 1
    if (vectors == 2) { multiply_list_2(row, offset, count, b, tile); return; }
#endif
    multiply_list_1(row, offset, count, b, tile);
}
