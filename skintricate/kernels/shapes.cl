/* Layers that multiply nothing: new shapes, parts of columns, sums of tensors, noise. X is read where source is -1. */

/* The values of every sample in their order, in rows of another length. */
FUNCTION void reshape_rows(ROW_ARGUMENTS) {
    const int from = stage->inputs, to = stage->outputs, pixels = stage->pixels, size = pixels * to;
    const int from_pixels = size / from, from_rows = step->run->batch_size * from_pixels;
    const bool whole_vectors = from % WIDTH == 0 && to % WIDTH == 0;
    const global scalar *source = step->workspace + stage->source;
    FOR_PIXELS_AND_VECTORS(n0, count, 1, pixels, to, , , {
        const int place = x * to + j * WIDTH;
        int q = place / from;
        int c = place - q * from;
        real values;
        if (stage->source < 0) {
            values = load_anywhere(row_of_x(step, sample, size) + place);
        } else if (whole_vectors) {
            values = load(source + panel_index(sample * from_pixels + q, c, from_rows, from));
        } else {
            scalar lanes[WIDTH];
            for (int lane = 0; lane < WIDTH; lane++) {
                lanes[lane] = place + lane < size ? source[panel_index(sample * from_pixels + q, c, from_rows, from)] : 0;
                if (++c == from) {
                    c = 0;
                    q++;
                }
            }
            values = load_private(lanes);
        }
        store_row_of(column_of(step, stage->target, j, to, pixels), n, without_padding(values, to - j * WIDTH));
    })
}

/* Some columns of a matrix to columns of another. constants: [first column there, first column here, number] */
FUNCTION void copy_columns_rows(ROW_ARGUMENTS) {
    const int from = (int)constant_of(step, stage, 0), to = (int)constant_of(step, stage, 1);
    const int number = (int)constant_of(step, stage, 2), pixels = stage->pixels, rows = step->run->batch_size * pixels;
    for (int i = ITEM; i < count * pixels * number; i += ITEMS) {
        const int n = n0 * pixels + i / number, c = i % number;
        const scalar x = stage->source < 0
                             ? row_of_x(step, n, stage->inputs)[from + c]
                             : step->workspace[stage->source + panel_index(n, from + c, rows, stage->inputs)];
        step->workspace[stage->target + panel_index(n, to + c, rows, stage->outputs)] = x;
    }
}

/* target = source + value */
FUNCTION void add_rows(ROW_ARGUMENTS) {
    const int columns = stage->outputs, pixels = stage->pixels;
    FOR_ROWS_AND_VECTORS(n0 * pixels, count * pixels, columns, {
        const real a = load_row_of(column_of(step, stage->source, j, columns, pixels), n);
        const real b = load_row_of(column_of(step, stage->value, j, columns, pixels), n);
        store_row_of(column_of(step, stage->target, j, columns, pixels), n, a + b);
    })
}

/* target = source + a normal number for each value (Box and Muller 1958). constants: [standard deviation] */
FUNCTION void noise_rows(ROW_ARGUMENTS) {
    const int columns = stage->outputs, pixels = stage->pixels;
    const uint key = step->run->seed + 0x9E3779B9u * (uint)(stage->id + 1);
    FOR_ROWS_AND_VECTORS(n0 * pixels, count * pixels, columns, {
        scalar lanes[WIDTH];
        for (int lane = 0; lane < WIDTH; lane++) {
            const uint row = (uint)(step->run->share_begin * pixels + n);
            const uint position = row * (uint)columns + (uint)(j * WIDTH + lane);
            const uint2 bits = philox((uint2)(position, step->number), key);
            const scalar radius = ((scalar)(bits.x >> 8) + (scalar)0.5) / (scalar)16777216;
            const scalar angle = (scalar)(bits.y >> 8) / (scalar)16777216;
            lanes[lane] = sqrt(-2 * log(radius)) * cos((scalar)6.283185307179586 * angle);
        }
        const real noise = constant_of(step, stage, 0) * load_private(lanes);
        const real x = load_row_of(column_of(step, stage->source, j, columns, pixels), n) + noise;
        store_row_of(column_of(step, stage->target, j, columns, pixels), n, without_padding(x, columns - j * WIDTH));
    })
}
