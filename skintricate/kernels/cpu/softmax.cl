/* SoftMax as a layer: ROWS rows a tile, the whole row in one work-item.
 *
 * forward   y_j = exp(x_j - max x) / sum_k exp(x_k - max x)
 * backward  dx_j = y_j (dy_j - sum_k dy_k y_k)
 */

static inline real load_row(const Step *step, const global Stage *stage, int n, int j) {
    if (stage->source >= 0)
        return load(step->workspace + stage->source + row_vector(n, j, step->run->batch_size, stage->outputs));
    return load(step->X + x_row(step, n) * stage->outputs + j * WIDTH);
}

TILE_FUNCTION softmax_forward_tile(const Step *step, const global Stage *stage, int tile_number) {
    const int batch = step->run->batch_size, columns = stage->outputs, vectors = (columns + WIDTH - 1) / WIDTH;
    for (int n = tile_number * ROWS; n < SMALLER((tile_number + 1) * ROWS, step->rows); n++) {
        scalar largest = -INFINITY, total = 0;
        for (int j = 0; j < vectors; j++) {
            const real x = load_row(step, stage, n, j);
            const scalar here = lane_max(LANES < columns - j * WIDTH ? x : (real)(-INFINITY));
            largest = LARGER(largest, here);
        }
        for (int j = 0; j < vectors; j++) {
            const real e = exp(load_row(step, stage, n, j) - largest);
            total += lane_sum(LANES < columns - j * WIDTH ? e : (real)0);
        }
        for (int j = 0; j < vectors; j++) {
            const real e = exp(load_row(step, stage, n, j) - largest) / total;
            store(LANES < columns - j * WIDTH ? e : (real)0,
                  step->workspace + stage->target + row_vector(n, j, batch, columns));
        }
    }
}

TILE_FUNCTION softmax_backward_tile(const Step *step, const global Stage *stage, int tile_number) {
    const int batch = step->run->batch_size, columns = stage->outputs, vectors = (columns + WIDTH - 1) / WIDTH;
    for (int n = tile_number * ROWS; n < SMALLER((tile_number + 1) * ROWS, step->rows); n++) {
        scalar projection = 0;
        for (int j = 0; j < vectors; j++) {
            const size_t at = row_vector(n, j, batch, columns);
            const real y = load(step->workspace + stage->value + at);
            projection += lane_sum(load(step->workspace + stage->gradient + at) * y);
        }
        for (int j = 0; j < vectors; j++) {
            const size_t at = row_vector(n, j, batch, columns);
            const real y = load(step->workspace + stage->value + at);
            store(y * (load(step->workspace + stage->gradient + at) - projection),
                  step->workspace + stage->target + at);
        }
    }
}

TILE_KERNEL(softmax_forward)
TILE_KERNEL(softmax_backward)
