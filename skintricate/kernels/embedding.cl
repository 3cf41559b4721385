/* Rows of a table, chosen by numbers: every column of the source holds rows of its own part of the table.
 *
 * constants: for each column [rows, first row]. A number that is no whole number of its column's rows has zeros.
 */

/* The row of the table that column f of sample n chooses, or -1. */
static inline int chosen_row(STEP step, STAGE stage, int n, int f) {
    const scalar number = stage->source < 0
                              ? row_of_x(step, n, stage->pixels)[f]
                              : step->workspace[stage->source
                                                + panel_index(n, f, step->run->batch_size, stage->pixels)];
    return number >= 0 && number < constant_of(step, stage, 2 * f) && number == floor(number)
               ? (int)number + (int)constant_of(step, stage, 2 * f + 1) : -1;
}

FUNCTION void embedding_forward_rows(ROW_ARGUMENTS) {
    const int columns = stage->outputs, inputs = stage->inputs, pixels = stage->pixels;
    FOR_PIXELS_AND_VECTORS(n0, count, 1, pixels, columns, , const int row = chosen_row(step, stage, sample, x), {
        const global scalar *table = step->parameters + stage->weights;
        const real values = row < 0 ? (real)0 : load(table + panel_index(LARGER(row, 0), j * WIDTH, inputs, columns));
        store_row_of(column_of(step, stage->target, j, columns, pixels), n, values);
    })
}

/* The gradients of a part of the table's rows, at `target`: every item has rows of its own. */
static inline void embedding_backward_weights(STEP step, STAGE stage, int tile) {
    const int columns = stage->outputs, inputs = stage->inputs, pixels = stage->pixels;
    const int share = (inputs + stage->tiles - 1) / stage->tiles;
    const int begin = tile * share, end = SMALLER(begin + share, inputs);
    global scalar *sums = step->workspace + stage->target;
    FOR_COLUMNS(columns, {
        if (slice < slices) {
            const Column gradient = column_of(step, stage->gradient, j, columns, pixels);
            for (int row = begin + slice; row < end; row += slices)
                store((real)0, sums + panel_index(row, j * WIDTH, inputs, columns));
            for (int n = 0; n < step->rows; n++)
                for (int f = 0; f < pixels; f++) {
                    const int row = chosen_row(step, stage, n, f);
                    if (row < begin || row >= end || (row - begin) % slices != slice) continue;
                    global scalar *sum = sums + panel_index(row, j * WIDTH, inputs, columns);
                    store(load(sum) + load_row_of(gradient, n * pixels + f), sum);
                }
        }
    })
}
