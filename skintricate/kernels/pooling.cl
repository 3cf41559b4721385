/* Pooling: the largest or the mean value of every window, channel by channel. Pixels outside the image do not count.
 *
 * Backward, each pixel takes the gradients of the windows that hold it, so that no two items add to the same number.
 * Where windows have no pixel in common (code 1) each window writes those of its pixels, and others stay zero.
 */

#define BEGIN_POOLING                                                                             \
    const Window w = window_of(step, stage);                                                      \
    const int columns = stage->outputs, size = w.height * w.width, out_size = w.out_height * w.out_width

/* Run STATEMENT for each window n, whose taps are ys and xs, or each pixel n, which windows ys and xs hold; vector j. */
#define FOR_WINDOWS(STATEMENT)                                                                    \
    FOR_PIXELS_AND_VECTORS(n0, count, w.out_height, w.out_width, columns,                         \
                           const Taps ys = rows_of_window(w, y), const Taps xs = columns_of_window(w, x), STATEMENT)
#define FOR_PIXELS(STATEMENT)                                                                     \
    FOR_PIXELS_AND_VECTORS(n0, count, w.height, w.width, columns,                                 \
                           const Taps ys = rows_of_pixel(w, y), const Taps xs = columns_of_pixel(w, x), STATEMENT)

/* Run STATEMENT for each tap: the pixel q of an image of `size` pixels a sample. */
#define FOR_TAPS(ys, xs, size, image_width, STATEMENT)                                            \
    for (int ky = 0; ky < (ys).count; ky++)                                                       \
        for (int kx = 0; kx < (xs).count; kx++) {                                                 \
            const int q = sample * (size) + place_of(ys, ky) * (image_width) + place_of(xs, kx);  \
            STATEMENT;                                                                            \
        }

/* NaN is the largest of all. */
#define IS_ABOVE(a, b) (((a) > (b)) | ((a) != (a)))

FUNCTION void max_pool_forward_rows(ROW_ARGUMENTS) {
    BEGIN_POOLING;
    FOR_WINDOWS({
        const Column source = column_of(step, stage->source, j, columns, size);
        real largest = -INFINITY;
        FOR_TAPS(ys, xs, size, w.width, {
            const real value = load_row_of(source, q);
            largest = IS_ABOVE(value, largest) ? value : largest;
        })
        store_row_of(column_of(step, stage->target, j, columns, out_size), n,
                     without_padding(largest, columns - j * WIDTH));
    })
}

/* The first pixel of a window with its largest value, in every lane. */
static inline mask place_of_largest(Column source, Window w, int sample, int size, Taps ys, Taps xs, real *largest) {
    mask place = sample * size + place_of(ys, 0) * w.width + place_of(xs, 0);
    *largest = -INFINITY;
    FOR_TAPS(ys, xs, size, w.width, {
        const real value = load_row_of(source, q);
        const mask above = IS_ABOVE(value, *largest);
        *largest = above ? value : *largest;
        place = above ? (mask)q : place;
    })
    return place;
}

/* A window's gradient is that of its largest value, the first of equals. Windows without a pixel in common go through
 * the activation that made the image, too. */
FUNCTION void max_pool_backward_rows(ROW_ARGUMENTS) {
    BEGIN_POOLING;
    if (stage->code == 1) {
        FOR_WINDOWS({
            const Column target = column_of(step, stage->target, j, columns, size);
            const real dy = load_row_of(column_of(step, stage->gradient, j, columns, out_size), n);
            real largest;
            const mask place = place_of_largest(column_of(step, stage->value, j, columns, size), w, sample, size, ys, xs,
                                                &largest);
            const real gradient = without_padding(through_derivative_of(step, stage, dy, largest), columns - j * WIDTH);
            FOR_TAPS(ys, xs, size, w.width, store_row_of(target, q, place == (mask)q ? gradient : (real)0))
        })
        return;
    }
    FOR_PIXELS({
        const Column source = column_of(step, stage->value, j, columns, size);
        const Column gradient = column_of(step, stage->gradient, j, columns, out_size);
        real sum = 0;
        FOR_TAPS(ys, xs, out_size, w.out_width, {
            const Taps window_ys = rows_of_window(w, place_of(ys, ky));
            const Taps window_xs = columns_of_window(w, place_of(xs, kx));
            real largest;
            const mask place = place_of_largest(source, w, sample, size, window_ys, window_xs, &largest);
            sum += place == (mask)n ? load_row_of(gradient, q) : (real)0;
        })
        store_row_of(column_of(step, stage->target, j, columns, size), n, sum);
    })
}

static inline scalar window_size(Window w, int y, int x) {
    return (scalar)(rows_of_window(w, y).count * columns_of_window(w, x).count);
}

FUNCTION void average_pool_forward_rows(ROW_ARGUMENTS) {
    BEGIN_POOLING;
    FOR_WINDOWS({
        const Column source = column_of(step, stage->source, j, columns, size);
        real sum = 0;
        FOR_TAPS(ys, xs, size, w.width, sum += load_row_of(source, q))
        store_row_of(column_of(step, stage->target, j, columns, out_size), n, sum / (scalar)(ys.count * xs.count));
    })
}

FUNCTION void average_pool_backward_rows(ROW_ARGUMENTS) {
    BEGIN_POOLING;
    if (stage->code == 1) {
        FOR_WINDOWS({
            const Column target = column_of(step, stage->target, j, columns, size);
            const real dy = load_row_of(column_of(step, stage->gradient, j, columns, out_size), n);
            const real gradient = dy / (scalar)(ys.count * xs.count);
            FOR_TAPS(ys, xs, size, w.width, store_row_of(target, q, gradient))
        })
        return;
    }
    FOR_PIXELS({
        const Column gradient = column_of(step, stage->gradient, j, columns, out_size);
        real sum = 0;
        FOR_TAPS(ys, xs, out_size, w.out_width,
                 sum += load_row_of(gradient, q) / window_size(w, place_of(ys, ky), place_of(xs, kx)))
        store_row_of(column_of(step, stage->target, j, columns, size), n, sum);
    })
}
