/* The gradient of a part of the rows of W, at `target`; the last tile is that of the bias. Every item has sums of its own. */
static inline void sparse_backward_weights(STEP step, STAGE stage, int tile) {
    const int columns = stage->outputs, inputs = stage->inputs, rows = inputs + stage->bias;
    const int share = (inputs + stage->tiles - stage->bias - 1) / (stage->tiles - stage->bias);
    const int begin = tile * share;
    const int end = SMALLER(begin + share, inputs);
    const bool is_bias = stage->bias && tile == stage->tiles - 1;
    FOR_COLUMNS(columns, {
        if (slice < slices) {
            const Column dz = column_of(step, stage->gradient, j, columns, 1);
            global scalar *sums = step->workspace + stage->target + panel_index(0, j * WIDTH, rows, columns);
            const int width = panel_width(j * WIDTH, columns);
            if (is_bias && slice == 0) {
                real sum = 0;
                for (int n = 0; n < step->rows; n++) sum += load_row_of(dz, n);
                store(sum, sums + (size_t)inputs * width);
            }
            for (int row = begin + slice; row < end && !is_bias; row += slices) store((real)0, sums + (size_t)row * width);
            for (int n = 0; n < step->rows && !is_bias; n++) {
                const Entries e = entries_of(step, n);
                const real gradient = load_row_of(dz, n);
                for (int k = first_entry(e, begin); k < e.end && e.columns[k] < end; k++) {
                    if ((e.columns[k] - begin) % slices != slice) continue;
                    global scalar *sum = sums + (size_t)e.columns[k] * width;
                    store(MULTIPLY_ADD((real)e.values[k], gradient, load(sum)), sum);
                }
            }
        }
    })
}
