/* A convolution written out: one vector of a result after the other. For groups of channels, and for GPUs.
 *
 * forward          y[n, p]   = f(sum over taps of x[n, pixel of the tap] W[tap] + b)
 * backward input   dx[n, q]  = sum over the windows that hold q of dz[n, p] W[tap]'
 * backward weights dW[tap]   = sum over samples and windows of x[n, pixel of the tap]' dz[n, p]
 *
 * W has a row for each tap and each of its channels, then the bias; W', kept beside it, has a row for each tap and
 * output. With groups, output o sees the channels of its own group alone, and there is no W'.
 */

/* Row q of sample n in a stage's source, an image of so many pixels and channels. */
typedef struct {
    const global scalar *values;
    int row, rows, columns;
    bool is_x;
} Pixel;

static inline Pixel pixel_of(STEP step, int source, int n, int q, int pixels, int channels) {
    Pixel pixel;
    pixel.is_x = source < 0;
    pixel.row = n * pixels + q;
    pixel.rows = step->run->batch_size * pixels;
    pixel.columns = channels;
    pixel.values = pixel.is_x ? row_of_x(step, n, pixels * channels) + q * channels : step->workspace + source;
    return pixel;
}
static inline scalar channel_of(Pixel pixel, int c) {
    return pixel.is_x ? pixel.values[c] : pixel.values[panel_index(pixel.row, c, pixel.rows, pixel.columns)];
}

/* So many of these channels, or outputs, has each group. */
static inline int in_group(int columns, Window w) { return columns / w.groups; }

/* Of the channels that the outputs of vector j see, the k-th of each. */
static inline real channels_of_outputs(Pixel pixel, Window w, int outputs, int j, int k) {
    const int channels = in_group(pixel.columns, w), share = in_group(outputs, w);
    scalar lanes[WIDTH];
    if (w.groups == 1) return (real)channel_of(pixel, k);
    for (int lane = 0; lane < WIDTH; lane++) {
        const int o = j * WIDTH + lane;
        lanes[lane] = o < outputs ? channel_of(pixel, o / share * channels + k) : (scalar)0;
    }
    return load_private(lanes);
}

/* Vector j of pixel (y, x) of sample n of the output, without bias. */
static inline real convolved(STEP step, STAGE stage, Window w, int n, int y, int x, int j) {
    const int outputs = stage->outputs, channels = stage->channels, rows = stage->inputs + stage->bias;
    const Taps ys = rows_of_window(w, y), xs = columns_of_window(w, x);
    const global scalar *weights = step->parameters + stage->weights;
    real sum = 0;
    for (int ky = 0; ky < ys.count; ky++)
        for (int kx = 0; kx < xs.count; kx++) {
            const int q = place_of(ys, ky) * w.width + place_of(xs, kx);
            const int row = (tap_of(ys, ky) * w.kernel_width + tap_of(xs, kx)) * channels;
            const Pixel pixel = pixel_of(step, stage->source, n, q, w.height * w.width, channels * w.groups);
            for (int k = 0; k < channels; k++)
                sum = MULTIPLY_ADD(channels_of_outputs(pixel, w, outputs, j, k),
                                   load(weights + panel_index(row + k, j * WIDTH, rows, outputs)), sum);
        }
    return sum;
}

/* Vector j of pixel (y, x) of sample n of the input's gradient; inputs and outputs are those of this product. */
static inline real convolved_back(STEP step, STAGE stage, Window w, int n, int y, int x, int j) {
    const int channels = stage->outputs, outputs = stage->channels, taps = w.kernel_height * w.kernel_width;
    const int share = in_group(outputs, w), group_channels = in_group(channels, w);
    const Taps ys = rows_of_pixel(w, y), xs = columns_of_pixel(w, x);
    const global scalar *weights = step->parameters + stage->weights;
    real sum = 0;
    for (int ky = 0; ky < ys.count; ky++)
        for (int kx = 0; kx < xs.count; kx++) {
            const int p = place_of(ys, ky) * w.out_width + place_of(xs, kx);
            const int tap = tap_of(ys, ky) * w.kernel_width + tap_of(xs, kx);
            const Pixel pixel = pixel_of(step, stage->source, n, p, w.out_height * w.out_width, outputs);
            for (int k = 0; k < share; k++) {
                if (w.groups == 1) {
                    const size_t at = panel_index(tap * outputs + k, j * WIDTH, taps * outputs, channels);
                    sum = MULTIPLY_ADD((real)channel_of(pixel, k), load(weights + at), sum);
                    continue;
                }
                scalar lanes[WIDTH];
                for (int lane = 0; lane < WIDTH; lane++) {
                    const int c = j * WIDTH + lane, o = c / group_channels * share + k;
                    const int row = tap * group_channels + c % group_channels;
                    const int rows = taps * group_channels + stage->bias;
                    lanes[lane] = c < channels ? channel_of(pixel, o) * weights[panel_index(row, o, rows, outputs)] : 0;
                }
                sum += load_private(lanes);
            }
        }
    return sum;
}

/* A tile of the weights' gradient sums over one part of the batch's rows, [begin, end); the parts' tiles follow one
 * another. Whole blocks are shared out, as `resident.cl` shares them out to queues. */
typedef struct {
    int tile, begin, end;
    global scalar *sums;
} BatchPart;

static inline BatchPart part_of_batch(STEP step, STAGE stage, int tile) {
    const int tiles = stage->tiles / stage->parts, part = tile / tiles, block_rows = step->run->block_rows;
    const int blocks = (step->run->batch_size + block_rows - 1) / block_rows;
    const int share = (blocks + stage->parts - 1) / stage->parts * block_rows;
    BatchPart p;
    p.tile = tile % tiles;
    p.begin = part * share;
    p.end = SMALLER(p.begin + share, step->rows);
    p.sums = step->workspace + stage->target + (size_t)part * stage->part_stride;
    return p;
}

/* Vector j of row i of the weights' gradient: the sum over every slices-th window of rows [begin, end) from `slice`. */
static inline real convolved_weights(STEP step, STAGE stage, Window w, int begin, int end, int i, int j, int slice,
                                     int slices) {
    const int outputs = stage->outputs, channels = stage->channels;
    const int windows = w.out_height * w.out_width, tap = i / channels;
    const Column dz = column_of(step, stage->gradient, j, outputs, windows);
    const int down = tap / w.kernel_width * w.dilation_y - w.top;
    const int right = tap % w.kernel_width * w.dilation_x - w.left;
    real sum = 0;
    for (int n = begin; n < end; n++)
        for (int p = slice; p < windows; p += slices) {
            const real gradient = load_row_of(dz, n * windows + p);
            if (i == stage->inputs) {
                sum += gradient;
                continue;
            }
            const int y = p / w.out_width * w.stride_y + down, x = p % w.out_width * w.stride_x + right;
            if (y < 0 || y >= w.height || x < 0 || x >= w.width) continue;
            const Pixel pixel = pixel_of(step, stage->source, n, y * w.width + x, w.height * w.width, channels * w.groups);
            sum = MULTIPLY_ADD(channels_of_outputs(pixel, w, outputs, j, i % channels), gradient, sum);
        }
    return sum;
}
