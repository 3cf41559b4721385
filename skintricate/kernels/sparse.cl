/* The products of a dense layer with a sparse X, y = f(x W + b), which holds the entries of every row one after another
 * (CSR): `X` their values, `order` their columns, in order, and where each row begins.
 */

/* The entries [begin, end) of row n of the step. */
typedef struct {
    const global scalar *values;
    const global int *columns;
    int begin, end;
} Entries;

static inline Entries entries_of(STEP step, int n) {
    const global int *table = step->order;
    const int row = x_row(step, n);
    Entries e;
    e.values = step->X;
    e.columns = table + step->run->x_columns;
    e.begin = table[step->run->x_starts + row];
    e.end = table[step->run->x_starts + row + 1];
    return e;
}

/* The first entry whose column is not less than this. */
static inline int first_entry(Entries e, int column) {
    int begin = e.begin;
    int end = e.end;
    while (begin < end) {
        const int middle = begin + (end - begin) / 2;
        if (e.columns[middle] < column) begin = middle + 1;
        else end = middle;
    }
    return begin;
}

/* Four sums, so that additions need not wait. */
FUNCTION void sparse_forward_rows(ROW_ARGUMENTS) {
    const int columns = stage->outputs, rows = stage->inputs + stage->bias;
    FOR_ROWS_AND_VECTORS(n0, count, columns, {
        const global scalar *weights = step->parameters + stage->weights + panel_index(0, j * WIDTH, rows, columns);
        const int width = panel_width(j * WIDTH, columns);
        const Entries e = entries_of(step, n);
        real sums[4];
        sums[0] = stage->bias ? load(weights + (size_t)stage->inputs * width) : (real)0;
        for (int q = 1; q < 4; q++) sums[q] = 0;
        int k = e.begin;
        for (; k + 4 <= e.end; k += 4)
            for (int q = 0; q < 4; q++)
                sums[q] = MULTIPLY_ADD((real)e.values[k + q], load(weights + (size_t)e.columns[k + q] * width), sums[q]);
        for (; k < e.end; k++)
            sums[0] = MULTIPLY_ADD((real)e.values[k], load(weights + (size_t)e.columns[k] * width), sums[0]);
        real y = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        if (stage->saved >= 0) store_row_of(column_of(step, stage->saved, j, columns, 1), n, y);
        y = activated(stage->code, y, step->constants + stage->constants);
        store_row_of(column_of(step, stage->target, j, columns, 1), n, without_padding(y, columns - j * WIDTH));
    })
}
