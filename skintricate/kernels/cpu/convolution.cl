/* The three products of a convolution in register tiles: ROWS samples by one panel, for each pixel of a row of the
 * image; there is no copy of the windows. All samples of a tile meet the same taps, so what lies outside the image
 * costs nothing. convolution.cl says what is computed, and does it for groups.
 */

/* Where the left operand's rows lie: pixel 0 of every sample. */
static inline void first_pixels(const Step *step, int source, int n0, int pixels, size_t *row) {
    for (int r = 0; r < ROWS; r++) {
        const int n = SMALLER(n0 + r, step->rows - 1);
        row[r] = (source < 0 ? x_row(step, n) : (size_t)n) * pixels;
    }
}

/* What a tile of a convolution is: a row of pixels of ROWS samples, and a panel of columns. */
typedef struct {
    int n0, rows, y, o0, width, vectors;
} PixelTile;

static inline PixelTile pixel_tile(const Step *step, const global Stage *stage, int tile_number, int height) {
    const int row_tiles = (step->run->batch_size + ROWS - 1) / ROWS;
    PixelTile t;
    t.n0 = tile_number % row_tiles * ROWS;
    t.rows = SMALLER(ROWS, step->rows - t.n0);
    t.y = tile_number / row_tiles % height;
    t.o0 = tile_number / row_tiles / height * PANEL;
    t.width = panel_width(t.o0, stage->outputs);
    t.vectors = t.width / WIDTH;
    return t;
}

/* Where pixel p of row r of a tile lies in a tensor of the result's shape. */
static inline size_t pixel_place(const Step *step, const global Stage *stage, PixelTile t, int r, int p) {
    return (size_t)t.o0 * step->run->batch_size * stage->pixels + ((size_t)(t.n0 + r) * stage->pixels + p) * t.width;
}

TILE_FUNCTION convolution_forward_tile(const Step *step, const global Stage *stage, int tile_number) {
    const Window w = window_of(step, stage);
    const PixelTile t = pixel_tile(step, stage, tile_number, w.out_height);
    if (t.rows <= 0) return;
    const int batch = step->run->batch_size, pixels = w.height * w.width, weight_rows = stage->inputs + stage->bias;
    const global scalar *b = step->parameters + stage->weights + (size_t)t.o0 * weight_rows;
    const global scalar *bias = b + (size_t)stage->inputs * t.width;
    const Left left = left_of(step, stage->source, stage->channels, pixels);
    const Taps ys = rows_of_window(w, t.y);
    size_t row[ROWS];
    first_pixels(step, stage->source, t.n0, pixels, row);
    for (int x = 0; x < w.out_width; x++) {
        const int p = t.y * w.out_width + x, count = t.rows * t.vectors;
        real tile[ROWS * COLUMNS];
        for (int r = 0; r < ROWS; r++)
            for (int j = 0; j < t.vectors; j++) tile[r * t.vectors + j] = stage->bias ? load(bias + j * WIDTH) : (real)0;
        if (w.groups == 1) {
            multiply_window(t.vectors, left, row, ys, columns_of_window(w, x), w.width, w.kernel_width, b, tile);
        } else {
            for (int r = 0; r < t.rows; r++)
                for (int j = 0; j < t.vectors; j++)
                    tile[r * t.vectors + j] += convolved(step, stage, w, t.n0 + r, t.y, x, t.o0 / WIDTH + j);
        }
        for (int r = 0; r < t.rows && stage->saved >= 0; r++)
            store_tile(tile + r * t.vectors, t.vectors, step->workspace + stage->saved + pixel_place(step, stage, t, r, p));
        activation_value(stage->code, count, tile, step->constants + stage->constants);
        for (int r = 0; r < t.rows; r++)
            store_tile(tile + r * t.vectors, t.vectors, step->workspace + stage->target + pixel_place(step, stage, t, r, p));
    }
}

TILE_FUNCTION convolution_backward_input_tile(const Step *step, const global Stage *stage, int tile_number) {
    const Window w = window_of(step, stage);
    const PixelTile t = pixel_tile(step, stage, tile_number, w.height);
    if (t.rows <= 0) return;
    const int windows = w.out_height * w.out_width, weight_rows = w.kernel_height * w.kernel_width * stage->channels;
    const global scalar *b = step->parameters + stage->weights + (size_t)t.o0 * weight_rows;
    const Left left = left_of(step, stage->source, stage->channels, windows);
    const Taps ys = rows_of_pixel(w, t.y);
    size_t row[ROWS];
    first_pixels(step, stage->source, t.n0, windows, row);
    for (int x = 0; x < w.width; x++) {
        const int p = t.y * w.width + x;
        real tile[ROWS * COLUMNS];
        for (int i = 0; i < ROWS * t.vectors; i++) tile[i] = 0;
        if (w.groups == 1) {
            multiply_window(t.vectors, left, row, ys, columns_of_pixel(w, x), w.out_width, w.kernel_width, b, tile);
        } else {
            for (int r = 0; r < t.rows; r++)
                for (int j = 0; j < t.vectors; j++)
                    tile[r * t.vectors + j] = convolved_back(step, stage, w, t.n0 + r, t.y, x, t.o0 / WIDTH + j);
        }
        for (int r = 0; r < t.rows; r++) {
            global scalar *workspace = step->workspace + pixel_place(step, stage, t, r, p);
            const global scalar *y = workspace + stage->value, *before = stage->saved >= 0 ? workspace + stage->saved : y;
            real *values = tile + r * t.vectors;
            activation_derivative(stage->code, t.vectors, values, before, y, step->constants + stage->constants);
            clear_padding(values, 1, t.vectors, stage->outputs - t.o0);
            store_tile(values, t.vectors, workspace + stage->target);
        }
    }
}

/* ROWS rows of the weights, where each finds its input: a tap and a channel. */
typedef struct {
    int down[ROWS], right[ROWS];        /* from a window's first pixel to the tap's */
    size_t place[ROWS], stride[ROWS];   /* of the channel in pixel 0, and from pixel to pixel */
    bool is_one_tap;
} WeightRows;

static inline WeightRows weight_rows(const global Stage *stage, Window w, Left left, int i0) {
    WeightRows rows;
    for (int r = 0; r < ROWS; r++) {
        const int i = SMALLER(i0 + r, stage->inputs - 1), tap = i / stage->channels, c = i % stage->channels;
        const int panel = c / left.panel * left.panel;
        rows.down[r] = tap / w.kernel_width * w.dilation_y - w.top;
        rows.right[r] = tap % w.kernel_width * w.dilation_x - w.left;
        rows.stride[r] = SMALLER(left.panel, left.padded - panel);
        rows.place[r] = (size_t)panel * left.rows + (c - panel);
    }
    rows.is_one_tap = i0 / stage->channels == SMALLER(i0 + ROWS - 1, stage->inputs - 1) / stage->channels;
    return rows;
}

/* The pixels of a row of windows at which a tap is inside, [begin, end). */
static inline int first_inside(int right, int stride) { return right < 0 ? (-right + stride - 1) / stride : 0; }
static inline int end_inside(int right, int stride, int width, int count) {
    return right >= width ? 0 : SMALLER(count, (width - 1 - right) / stride + 1);
}

/* The gradient of ROWS rows of W from i0, or of the bias: the sum over the stage's rows of the batch and all windows. */
static inline void convolved_weight_rows(const Step *step, const global Stage *stage, int i0, int o0, int vectors,
                                         real *tile) {
    const Window w = window_of(step, stage);
    const int windows = w.out_height * w.out_width, width = vectors * WIDTH, end = SMALLER(stage->rows_end, step->rows);
    const global scalar *dz = step->workspace + stage->gradient + (size_t)o0 * step->run->batch_size * windows
                              + (size_t)stage->rows_begin * windows * width;
    for (int i = 0; i < ROWS * vectors; i++) tile[i] = 0;
    if (i0 >= stage->inputs) {
        for (int n = 0; n < (end - stage->rows_begin) * windows; n++)
            for (int j = 0; j < vectors; j++) tile[j] += load(dz + (size_t)n * width + j * WIDTH);
        return;
    }
    if (w.groups > 1) {
        for (int i = 0; i < SMALLER(ROWS, stage->inputs - i0) * vectors; i++)
            tile[i] = convolved_weights(step, stage, w, i0 + i / vectors, o0 / WIDTH + i % vectors, 0, 1);
        return;
    }
    const Left left = left_of(step, stage->source, stage->channels, w.height * w.width);
    const WeightRows rows = weight_rows(stage, w, left, i0);
    int begin_x = 0, end_x = w.out_width, begin_y = 0, end_y = w.out_height;
    bool is_uniform = true;
    for (int r = 0; r < ROWS; r++) {
        begin_x = LARGER(begin_x, first_inside(rows.right[r], w.stride_x));
        end_x = SMALLER(end_x, end_inside(rows.right[r], w.stride_x, w.width, w.out_width));
        begin_y = LARGER(begin_y, first_inside(rows.down[r], w.stride_y));
        end_y = SMALLER(end_y, end_inside(rows.down[r], w.stride_y, w.height, w.out_height));
        is_uniform &= rows.stride[r] == rows.stride[0];
    }
    end_x = LARGER(end_x, begin_x);
    for (int n = stage->rows_begin; n < end; n++) {
        const size_t sample = (stage->source < 0 ? x_row(step, n) : (size_t)n) * left.pixels;
        for (int y = 0; y < w.out_height; y++, dz += w.out_width * width) {
            const bool all = is_uniform && y >= begin_y && y < end_y;
            const int begin = all ? begin_x : w.out_width, finish = all ? end_x : w.out_width;
            if (all && finish > begin) {
                const global scalar *a[ROWS];
                for (int r = 0; r < ROWS; r++)
                    a[r] = left.values + rows.place[r]
                           + (sample + (y * w.stride_y + rows.down[r]) * w.width + begin * w.stride_x + rows.right[r])
                                 * rows.stride[r];
                add_products(vectors, a, w.stride_x * rows.stride[0], dz + (size_t)begin * width, finish - begin, tile);
            }
            if (rows.is_one_tap && is_uniform) continue;
            /* Taps at the image's edge, some of which are outside. */
            for (int x = 0; x < w.out_width; x++) {
                if (x == begin) x = finish;
                if (x == w.out_width) break;
                for (int r = 0; r < ROWS; r++) {
                    const int v = y * w.stride_y + rows.down[r], u = x * w.stride_x + rows.right[r];
                    if (v < 0 || v >= w.height || u < 0 || u >= w.width) continue;
                    const real s = (real)left.values[rows.place[r] + (sample + v * w.width + u) * rows.stride[r]];
                    for (int j = 0; j < vectors; j++)
                        tile[r * vectors + j] = MULTIPLY_ADD(s, load(dz + (size_t)x * width + j * WIDTH), tile[r * vectors + j]);
                }
            }
        }
    }
}
