/* Where the values of images lie, and how a group's work-items share them: for the stages that both families have in
 * common. On a CPU the only item does all.
 *
 * An image of C channels is a matrix with a row for each of its pixels, one sample after another. What such a stage
 * reads has been brought into the workspace; X itself is read by those that say so.
 */

/* Vectors of a row of so many columns. */
static inline int vectors_of(int columns) { return (columns + WIDTH - 1) / WIDTH; }

/* A column of vectors of a tensor: that of row n begins at values + n * stride. */
typedef struct {
    global scalar *values;
    size_t stride;
} Column;

static inline Column column_of(STEP step, int offset, int vector, int columns, int pixels) {
    Column column;
    column.values = step->workspace + offset
                    + panel_index(0, vector * WIDTH, step->run->batch_size * pixels, columns);
    column.stride = panel_width(vector * WIDTH, columns);
    return column;
}
static inline real load_row_of(Column column, int n) { return load(column.values + n * column.stride); }
static inline void store_row_of(Column column, int n, real x) { store(x, column.values + n * column.stride); }

/* A row of X, of so many columns. */
static inline const global scalar *row_of_x(STEP step, int n, int columns) {
    return step->X + x_row(step, n) * X_COLUMNS(columns);
}

/* Run STATEMENT for each vector j of a row; `slices` items share the rows of it, this one has every slices-th from
 * `slice`. Whole groups come here, so STATEMENT may hold barriers. */
#define FOR_COLUMNS(columns, STATEMENT)                                                           \
    for (int first_ = 0; first_ < vectors_of(columns); first_ += ITEMS) {                         \
        const int lanes = SMALLER(vectors_of(columns) - first_, ITEMS), slices = ITEMS / lanes;   \
        const int j = first_ + ITEM % lanes, slice = ITEM / lanes;                                \
        STATEMENT;                                                                                \
    }

/* Hyper-parameter k of a stage. */
static inline scalar constant_of(STEP step, STAGE stage, int k) { return step->constants[stage->constants + k]; }

/* Windows over an image; skintricate/kernels/stage.py names the numbers. */
typedef struct {
    int height, width, out_height, out_width, kernel_height, kernel_width;
    int stride_y, stride_x, top, left, dilation_y, dilation_x, groups;
} Window;

static inline Window window_of(STEP step, STAGE stage) {
    const global scalar *p = step->constants + stage->window;
    Window w;
    w.height = (int)p[0]; w.width = (int)p[1]; w.out_height = (int)p[2]; w.out_width = (int)p[3];
    w.kernel_height = (int)p[4]; w.kernel_width = (int)p[5]; w.stride_y = (int)p[6]; w.stride_x = (int)p[7];
    w.top = (int)p[8]; w.left = (int)p[9]; w.dilation_y = (int)p[10]; w.dilation_x = (int)p[11]; w.groups = (int)p[12];
    return w;
}

/* The taps of a window that meet the image, along one axis: `count` of them, every `tap_step`-th from `tap`, at every
 * `place_step`-th pixel from `place`. */
typedef struct {
    int count, tap, tap_step, place, place_step;
} Taps;

static inline int rounded_up(int n, int divisor) { return divisor == 1 ? n : (n + divisor - 1) / divisor; }

/* Those of the window at `out`, in the image: pixel = out * stride - before + tap * dilation. */
static inline Taps taps_of_window(int out, int taps, int size, int stride, int before, int dilation) {
    const int begin = out * stride - before;
    Taps t;
    t.tap = begin < 0 ? rounded_up(-begin, dilation) : 0;
    t.tap_step = 1;
    t.place_step = dilation;
    t.place = begin + t.tap * dilation;
    t.count = size > t.place ? SMALLER(taps - t.tap, rounded_up(size - t.place, dilation)) : 0;
    t.count = LARGER(t.count, 0);
    return t;
}

/* Those of the windows that hold `pixel`: out = (pixel + before - tap * dilation) / stride, where it is whole. */
static inline Taps taps_of_pixel(int pixel, int taps, int windows, int stride, int before, int dilation) {
    Taps t;
    int tap = 0;
    t.count = t.tap = t.place = t.place_step = 0;
    t.tap_step = 1;
    while (tap < taps && (pixel + before - tap * dilation >= windows * stride
                          || (pixel + before - tap * dilation) % stride != 0))
        tap++;
    if (tap == taps || pixel + before - tap * dilation < 0) return t;
    t.tap = tap;
    t.place = (pixel + before - tap * dilation) / stride;
    while (dilation * t.tap_step % stride != 0) t.tap_step++;
    t.place_step = -(dilation * t.tap_step / stride);
    t.count = SMALLER((taps - tap + t.tap_step - 1) / t.tap_step, t.place / -t.place_step + 1);
    return t;
}
static inline int tap_of(Taps t, int k) { return t.tap + k * t.tap_step; }
static inline int place_of(Taps t, int k) { return t.place + k * t.place_step; }

static inline Taps rows_of_window(Window w, int y) {
    return taps_of_window(y, w.kernel_height, w.height, w.stride_y, w.top, w.dilation_y);
}
static inline Taps columns_of_window(Window w, int x) {
    return taps_of_window(x, w.kernel_width, w.width, w.stride_x, w.left, w.dilation_x);
}
static inline Taps rows_of_pixel(Window w, int y) {
    return taps_of_pixel(y, w.kernel_height, w.out_height, w.stride_y, w.top, w.dilation_y);
}
static inline Taps columns_of_pixel(Window w, int x) {
    return taps_of_pixel(x, w.kernel_width, w.out_width, w.stride_x, w.left, w.dilation_x);
}
