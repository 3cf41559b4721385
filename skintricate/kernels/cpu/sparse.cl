/* The gradient of the weights of a dense layer with a sparse X, and their update. */

/* Tiles of W whose gradients are summed at once. The sums stay in a core's cache up to their update, and the optimizer
 * walks long stretches of memory. */
#ifndef SPARSE_BYTES
#define SPARSE_BYTES 49152
#endif
#define SPARSE_TILES (SPARSE_BYTES / (ROWS * COLUMNS * (int)sizeof(real)))

/* Add what the entries of rows [row, row_end) of W give to their sums, of `vectors` vectors a row. `next` holds for each
 * sample which entry is the first of those left, and the end of them; it moves on. */
static inline void add_entries(const Step *step, global int *next, int row, int row_end, const global scalar *dz,
                               int vectors, real *sums) {
    const global int *columns = step->order + step->run->x_columns;
    for (int n = 0; n < step->rows; n++, dz += vectors * WIDTH) {
        int k = next[2 * n];
        for (; k < next[2 * n + 1] && columns[k] < row_end; k++) {
            const real x = (real)step->X[k];
            real *sum = sums + (columns[k] - row) * vectors;
            for (int j = 0; j < vectors; j++) sum[j] = MULTIPLY_ADD(x, load(dz + j * WIDTH), sum[j]);
        }
        next[2 * n] = k;
    }
}

/* A part of the rows of a panel of W; the bias belongs to the first. */
TILE_FUNCTION sparse_backward_weights_tile(const Step *step, const global Stage *stage, int tile_number) {
    const int batch = step->run->batch_size, panels = (stage->outputs + PANEL - 1) / PANEL;
    const int parts = stage->tiles / panels, part = tile_number % parts, panel = tile_number / parts;
    const int row_tiles = (stage->inputs + ROWS - 1) / ROWS, share = (row_tiles + parts - 1) / parts;
    const int begin = part * share, end = SMALLER(begin + share, row_tiles);
    const int first_number = panel * (row_tiles + stage->bias);
    const int vectors = panel_width(panel * PANEL, stage->outputs) / WIDTH;
    const global scalar *dz = step->workspace + stage->gradient + (size_t)panel * PANEL * batch;
    global int *next = (global int *)(step->workspace + stage->sums) + (size_t)tile_number * 2 * batch;
    for (int n = 0; n < step->rows; n++) {
        const Entries e = entries_of(step, n);
        next[2 * n] = first_entry(e, begin * ROWS);
        next[2 * n + 1] = e.end;
    }
    for (int first = begin; first < end; first += SPARSE_TILES) {
        const int last = SMALLER(first + SPARSE_TILES, end);
        real sums[SPARSE_TILES * ROWS * COLUMNS];
        for (int i = 0; i < (last - first) * ROWS * vectors; i++) sums[i] = 0;
        add_entries(step, next, first * ROWS, last * ROWS, dz, vectors, sums);
        for (int t = first; t < last; t++) {
            const WeightTile w = weight_tile(stage, first_number + t);
            apply_gradient(step, stage, w, first_number + t, sums + (t - first) * ROWS * vectors);
        }
    }
    if (stage->bias && part == 0) dense_backward_weights_tile(step, stage, first_number + row_tiles);
}
