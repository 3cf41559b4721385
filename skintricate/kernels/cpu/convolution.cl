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

/* Where the numbers of a window lie, from its first pixel on; returns how many they are, or 0 where there is no list. */
static inline int list_window(Window w, Left left, int *offset) {
    const int numbers = w.kernel_height * w.kernel_width * left.columns;
    if (left.columns >= FEW_CHANNELS || left.columns > left.panel || numbers > MOST_OFFSETS) return 0;
    for (int k = 0; k < numbers; k++) {
        const int tap = k / left.columns, y = tap / w.kernel_width * w.dilation_y, x = tap % w.kernel_width * w.dilation_x;
        offset[k] = (y * w.width + x) * left.padded + k % left.columns;
    }
    return numbers;
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
    int offset[MOST_OFFSETS];
    const int numbers = w.groups == 1 && ys.count == w.kernel_height ? list_window(w, left, offset) : 0;
    first_pixels(step, stage->source, t.n0, pixels, row);
    for (int x = 0; x < w.out_width; x++) {
        const int p = t.y * w.out_width + x, count = t.rows * t.vectors;
        const Taps xs = columns_of_window(w, x);
        real tile[ROWS * COLUMNS];
        for (int r = 0; r < ROWS; r++)
            for (int j = 0; j < t.vectors; j++) tile[r * t.vectors + j] = stage->bias ? load(bias + j * WIDTH) : (real)0;
        if (numbers > 0 && xs.count == w.kernel_width) {
            const global scalar *first[ROWS];
            for (int r = 0; r < ROWS; r++)
                first[r] = left.values + (row[r] + ys.place * w.width + xs.place) * left.padded;
            multiply_list(t.vectors, first, offset, numbers, b, tile);
        } else if (w.groups == 1) {
            multiply_window(t.vectors, left, row, ys, xs, w.width, w.kernel_width, b, tile);
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

static inline void find_weight_rows(const global Stage *stage, Window w, Left left, int i0, WeightRows *rows) {
    for (int r = 0; r < ROWS; r++) {
        const int i = SMALLER(i0 + r, stage->inputs - 1), tap = i / stage->channels, c = i % stage->channels;
        const int panel = c / left.panel * left.panel;
        rows->down[r] = tap / w.kernel_width * w.dilation_y - w.top;
        rows->right[r] = tap % w.kernel_width * w.dilation_x - w.left;
        rows->stride[r] = SMALLER(left.panel, left.padded - panel);
        rows->place[r] = (size_t)panel * left.rows + (c - panel);
    }
    rows->is_one_tap = i0 / stage->channels == SMALLER(i0 + ROWS - 1, stage->inputs - 1) / stage->channels;
}

/* The pixels of a row of windows at which a tap is inside, [begin, end). */
static inline int first_inside(int right, int stride) { return right < 0 ? (-right + stride - 1) / stride : 0; }
static inline int end_inside(int right, int stride, int width, int count) {
    return right >= width ? 0 : SMALLER(count, (width - 1 - right) / stride + 1);
}

/* What a tile of weights' gradients needs that is the same for all samples. */
typedef struct {
    WeightTile tile;
    WeightRows rows;
    int begin_x, end_x, begin_y, end_y; /* windows that have all taps of its rows inside */
    bool is_uniform;
} WeightSum;

static inline void begin_weight_sum(const global Stage *stage, Window w, Left left, int tile_number, WeightSum *s) {
    s->tile = weight_tile(stage, tile_number);
    s->begin_x = s->begin_y = 0;
    s->end_x = w.out_width;
    s->end_y = w.out_height;
    s->is_uniform = true;
    if (s->tile.is_bias) return;
    find_weight_rows(stage, w, left, s->tile.row, &s->rows);
    for (int r = 0; r < ROWS; r++) {
        s->begin_x = LARGER(s->begin_x, first_inside(s->rows.right[r], w.stride_x));
        s->end_x = SMALLER(s->end_x, end_inside(s->rows.right[r], w.stride_x, w.width, w.out_width));
        s->begin_y = LARGER(s->begin_y, first_inside(s->rows.down[r], w.stride_y));
        s->end_y = SMALLER(s->end_y, end_inside(s->rows.down[r], w.stride_y, w.height, w.out_height));
        s->is_uniform &= s->rows.stride[r] == s->rows.stride[0];
    }
    s->begin_x = SMALLER(s->begin_x, w.out_width);
    s->end_x = LARGER(s->end_x, s->begin_x);
}

/* Add what windows [begin, end) of row y of one sample give whose taps are partly outside. */
static inline void add_at_edge(const WeightSum *s, Window w, Left left, size_t sample, int y, int begin, int end,
                               const global scalar *dz, real *sum) {
    const int vectors = s->tile.vectors;
    for (int x = begin; x < end; x++)
        for (int r = 0; r < ROWS; r++) {
            const int v = y * w.stride_y + s->rows.down[r], u = x * w.stride_x + s->rows.right[r];
            if (v < 0 || v >= w.height || u < 0 || u >= w.width) continue;
            const real a = (real)left.values[s->rows.place[r] + (sample + v * w.width + u) * s->rows.stride[r]];
            for (int j = 0; j < vectors; j++)
                sum[r * vectors + j] = MULTIPLY_ADD(a, load(dz + (size_t)x * s->tile.width + j * WIDTH), sum[r * vectors + j]);
        }
}

/* sum += what one sample gives: dz are its windows. */
static inline void add_sample(const WeightSum *s, Window w, Left left, size_t sample, const global scalar *dz, real *sum) {
    const int vectors = s->tile.vectors, width = s->tile.width;
    if (s->tile.is_bias) {
        for (int p = 0; p < w.out_height * w.out_width; p++)
            for (int j = 0; j < vectors; j++) sum[j] += load(dz + (size_t)p * width + j * WIDTH);
        return;
    }
    for (int y = 0; y < w.out_height; y++, dz += w.out_width * width) {
        const bool all = s->is_uniform && y >= s->begin_y && y < s->end_y;
        if (all && s->end_x > s->begin_x) {
            const int v = y * w.stride_y, u = s->begin_x * w.stride_x;
            const global scalar *a[ROWS];
            for (int r = 0; r < ROWS; r++)
                a[r] = left.values + s->rows.place[r]
                       + (sample + (v + s->rows.down[r]) * w.width + u + s->rows.right[r]) * s->rows.stride[r];
            add_products(vectors, a, w.stride_x * s->rows.stride[0], dz + (size_t)s->begin_x * width,
                         s->end_x - s->begin_x, sum);
        }
        /* Where all rows have one tap, it is outside now, and there is nothing to add. */
        if (s->rows.is_one_tap && s->is_uniform) continue;
        add_at_edge(s, w, left, sample, y, 0, all ? s->begin_x : w.out_width, dz, sum);
        if (all) add_at_edge(s, w, left, sample, y, s->end_x, w.out_width, dz, sum);
    }
}

/* So many tiles of the weights' gradient, one after the other, at `target`. They take the samples together, since each
 * reads all of dz. */
TILE_FUNCTION convolution_backward_weights_tile(const Step *step, const global Stage *stage, int tile_number) {
    const Window w = window_of(step, stage);
    const Left left = left_of(step, stage->source, stage->channels, w.height * w.width);
    const BatchPart part = part_of_batch(step, stage, tile_number);
    const int windows = w.out_height * w.out_width;
    const int panels = (stage->outputs + PANEL - 1) / PANEL;
    const int all = ((stage->inputs + ROWS - 1) / ROWS + stage->bias) * panels;
    const int first = part.tile * TILES_TOGETHER, count = SMALLER(TILES_TOGETHER, all - first);
    WeightSum sums[TILES_TOGETHER];
    real tiles[TILES_TOGETHER * ROWS * COLUMNS];
    for (int i = 0; i < TILES_TOGETHER * ROWS * COLUMNS; i++) tiles[i] = 0;
    for (int t = 0; t < count; t++) begin_weight_sum(stage, w, left, first + t, sums + t);
    for (int n = part.begin; n < part.end; n++) {
        const size_t sample = (stage->source < 0 ? x_row(step, n) : (size_t)n) * left.pixels;
        for (int t = 0; t < count && w.groups == 1; t++) {
            const WeightTile *tile = &sums[t].tile;
            const global scalar *dz = step->workspace + stage->gradient
                                      + (size_t)tile->o0 * step->run->batch_size * windows + (size_t)n * windows * tile->width;
            add_sample(sums + t, w, left, sample, dz, tiles + t * ROWS * COLUMNS);
        }
    }
    for (int t = 0; t < count; t++) {
        const WeightTile tile = sums[t].tile;
        real *values = tiles + t * ROWS * COLUMNS;
        for (int i = 0; i < tile.rows * tile.vectors && w.groups > 1; i++)
            values[i] = convolved_weights(step, stage, w, part.begin, part.end, tile.row + i / tile.vectors,
                                          tile.o0 / WIDTH + i % tile.vectors, 0, 1);
        store_tile(values, tile.rows * tile.vectors, part.sums + tile.at);
    }
}
