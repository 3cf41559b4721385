/* Products of a block of few rows with a small matrix; many_rows.cl is its twin where batches have many. */

DEFINE_NARROW(narrow_2, 2, 8)
DEFINE_NARROW(narrow_4, 4, 8)

/* For few inputs: a work-item makes a vector of a row by itself, the sum in the same order; it waits for nobody. */
#define FEW_INPUTS 8
static inline void narrow_few(STEP step, STAGE stage, const global scalar *b, int n0, int count) {
    const int inputs = stage->inputs, width = padded(stage->outputs), vectors = width / WIDTH;
    for (int v = ITEM; v < count * vectors; v += ITEMS) {
        const int n = n0 + v / vectors, column = v % vectors * WIDTH;
        const global scalar *row = input_row(step, stage, n, inputs);
        const real bias = bias_of(step, stage, column);
        real x[FEW_INPUTS / WIDTH], w[FEW_INPUTS], c = 0;
#pragma unroll
        for (int j = 0; j < FEW_INPUTS / WIDTH; j++) x[j] = j * WIDTH < inputs ? load(row + j * WIDTH) : (real)0;
#pragma unroll
        for (int k = 0; k < FEW_INPUTS; k++) w[k] = k < inputs ? load(b + (size_t)k * width + column) : (real)0;
#pragma unroll
        for (int k = 0; k < FEW_INPUTS; k++)
            if (k < inputs) c = MULTIPLY_ADD((real)LANE(x[k / WIDTH], k % WIDTH), w[k], c);
        finish_rows(step, stage, n, column, c + bias);
    }
}

FUNCTION void dense_rows(STEP step, STAGE stage, int n0, int count, local scalar *scratch) {
    const global scalar *b = step->parameters + stage->weights;
    const int vectors = padded(stage->outputs) / WIDTH;
    /* With more than a vector for each work-item the weights are better read once for all rows. */
    if (stage->inputs <= FEW_INPUTS && step->run->block_rows * vectors <= ITEMS) narrow_few(step, stage, b, n0, count);
    else if (count <= 2) narrow_2(step, stage, b, n0, count, scratch);
    else if (count <= 4) narrow_4(step, stage, b, n0, count, scratch);
    else narrow_8(step, stage, b, n0, count, scratch);
}
