/* The sums of a wide product, a tile of SIZE x SIZE by a work-group; this file is read once for every SIZE.
 *
 * The tile's sum runs in chunks of CHUNK_DEPTH, which go through local memory, RING of them at a time: while one is
 * worked on, the next are on their way. Four slices of the work-items, SLICE_ITEMS each, take every fourth vector of
 * the sum's index, with all of the tile in their registers; at the end the slices are added, always alike, so that a
 * number does not depend on SIZE. Two halves of the result stay in scratch, to be added by whoever finishes a vector.
 *
 * Tunables: SIZE, DEPTH. ASYNCHRONOUS_COPY where copies to local memory go on by themselves.
 */
#define SLICES 4
#define CHUNK_DEPTH (SIZE == 64 ? DEPTH / 2 : SIZE == 16 ? DEPTH * 2 : DEPTH)
#define SLICE_ITEMS (ITEMS / SLICES)
#if SIZE == 16
#define ITEM_COLUMNS 4
#else
#define ITEM_COLUMNS 8
#endif
#define ITEM_ROWS (SLICE_ITEMS / ITEM_COLUMNS)
/* Of one work-item: rows, and vectors of a row. */
#define TILE_ROWS (SIZE / ITEM_ROWS)
#define TILE_VECTORS (SIZE / WIDTH / ITEM_COLUMNS)
/* Local memory: the left operand by rows, or by columns as the right one; a vector of padding against bank conflicts. */
#define ROW_STRIDE (CHUNK_DEPTH + WIDTH)
#define COLUMN_STRIDE (SIZE + WIDTH)
#define OPERAND (SIZE * ROW_STRIDE > CHUNK_DEPTH * COLUMN_STRIDE ? SIZE * ROW_STRIDE : CHUNK_DEPTH * COLUMN_STRIDE)
#define CHUNK_VECTORS (SIZE * CHUNK_DEPTH / WIDTH)
#define LOADS ((CHUNK_VECTORS + ITEMS - 1) / ITEMS)
#define RING 4

#if RING * 2 * OPERAND > SCRATCH || 2 * SIZE * SIZE > SCRATCH
#error "A wide product needs more scratch than SCRATCH."
#endif

/* Vector l of a work-item in a chunk: its number, and row and column where rows have so many vectors. */
#define VECTOR(l) (ITEM + (l) * ITEMS)
#define IN_CHUNK(l) (CHUNK_VECTORS % ITEMS == 0 || VECTOR(l) < CHUNK_VECTORS)
#define VECTOR_ROW(l, row_vectors) (VECTOR(l) / (row_vectors))
#define VECTOR_COLUMN(l, row_vectors) (VECTOR(l) % (row_vectors) * WIDTH)
/* Its place in an operand by rows of CHUNK_DEPTH, and by columns: rows of SIZE. */
#define ROWS_PLACE(l) (VECTOR_ROW(l, CHUNK_DEPTH / WIDTH) * ROW_STRIDE + VECTOR_COLUMN(l, CHUNK_DEPTH / WIDTH))
#define COLUMNS_PLACE(l) (VECTOR_ROW(l, SIZE / WIDTH) * COLUMN_STRIDE + VECTOR_COLUMN(l, SIZE / WIDTH))

/* c += this work-item's part of a chunk whose left operand lies by rows. */
static inline void JOIN(multiply_rows_, SIZE)(local const scalar *left, local const scalar *right, real *c) {
    const int slice = ITEM / SLICE_ITEMS, y = ITEM % SLICE_ITEMS / ITEM_COLUMNS, x = ITEM % ITEM_COLUMNS;
#pragma unroll
    for (int v = 0; v < CHUNK_DEPTH; v += SLICES * WIDTH) {
        const int k = v + slice * WIDTH;
        real a[TILE_ROWS];
#pragma unroll
        for (int i = 0; i < TILE_ROWS; i++) a[i] = *(local const real *)(left + (y + i * ITEM_ROWS) * ROW_STRIDE + k);
#pragma unroll
        for (int q = 0; q < WIDTH; q++)
#pragma unroll
            for (int j = 0; j < TILE_VECTORS; j++) {
                const real b = *(local const real *)(right + (k + q) * COLUMN_STRIDE + (x + j * ITEM_COLUMNS) * WIDTH);
#pragma unroll
                for (int i = 0; i < TILE_ROWS; i++)
                    c[i * TILE_VECTORS + j] = MULTIPLY_ADD((real)LANE(a[i], q), b, c[i * TILE_VECTORS + j]);
            }
    }
}

/* Row i of a work-item where the left operand lies by columns: whole vectors where it has as many rows. */
#define ROW_OF(i) (TILE_ROWS % WIDTH == 0 ? (y + (i) / WIDTH * ITEM_ROWS) * WIDTH + (i) % WIDTH : y + (i) * ITEM_ROWS)

static inline void JOIN(multiply_columns_, SIZE)(local const scalar *left, local const scalar *right, real *c) {
    const int slice = ITEM / SLICE_ITEMS, y = ITEM % SLICE_ITEMS / ITEM_COLUMNS, x = ITEM % ITEM_COLUMNS;
#pragma unroll
    for (int v = 0; v < CHUNK_DEPTH / SLICES; v++) {
        const int k = v / WIDTH * SLICES * WIDTH + slice * WIDTH + v % WIDTH;
        scalar a[TILE_ROWS];
#if TILE_ROWS % WIDTH == 0
#pragma unroll
        for (int i = 0; i < TILE_ROWS; i += WIDTH) {
            const real rows = *(local const real *)(left + k * COLUMN_STRIDE + ROW_OF(i));
#pragma unroll
            for (int q = 0; q < WIDTH; q++) a[i + q] = LANE(rows, q);
        }
#else
#pragma unroll
        for (int i = 0; i < TILE_ROWS; i++) a[i] = left[k * COLUMN_STRIDE + ROW_OF(i)];
#endif
#pragma unroll
        for (int j = 0; j < TILE_VECTORS; j++) {
            const real b = *(local const real *)(right + k * COLUMN_STRIDE + (x + j * ITEM_COLUMNS) * WIDTH);
#pragma unroll
            for (int i = 0; i < TILE_ROWS; i++)
                c[i * TILE_VECTORS + j] = MULTIPLY_ADD((real)a[i], b, c[i * TILE_VECTORS + j]);
        }
    }
}

/* Add the slices; what to add last stays in scratch, in two halves of SIZE x SIZE. */
static inline void JOIN(add_slices_, SIZE)(real *c, bool by_rows, local scalar *scratch) {
    const int slice = ITEM / SLICE_ITEMS, y = ITEM % SLICE_ITEMS / ITEM_COLUMNS, x = ITEM % ITEM_COLUMNS;
    local real *sums = (local real *)scratch + slice % 2 * (SIZE * SIZE / WIDTH);
    for (int turn = 0; turn < 2; turn++) {
        const bool writes = slice / 2 != turn;
        if (turn == 1 && writes)
#pragma unroll
            for (int i = 0; i < TILE_ROWS * TILE_VECTORS; i++) {
                const int r = by_rows ? y + i / TILE_VECTORS * ITEM_ROWS : ROW_OF(i / TILE_VECTORS);
                c[i] += sums[r * (SIZE / WIDTH) + x + i % TILE_VECTORS * ITEM_COLUMNS];
            }
        if (writes)
#pragma unroll
            for (int i = 0; i < TILE_ROWS * TILE_VECTORS; i++) {
                const int r = by_rows ? y + i / TILE_VECTORS * ITEM_ROWS : ROW_OF(i / TILE_VECTORS);
                sums[r * (SIZE / WIDTH) + x + i % TILE_VECTORS * ITEM_COLUMNS] = c[i];
            }
        SYNC_LOCAL;
    }
}

/* The sum over [begin, end) into c. LEFT(l, k, PUT, chunk) and RIGHT do PUT(l, place, address, whether it is inside)
 * with vector l of the chunk at k; NEXT(l, k) makes ready for the chunk that follows. */
#ifdef ASYNCHRONOUS_COPY
#define SUM_CHUNKS(begin, end, LEFT, RIGHT, NEXT, MULTIPLY)                                       \
    real c[TILE_ROWS * TILE_VECTORS];                                                             \
    _Pragma("unroll") for (int i = 0; i < TILE_ROWS * TILE_VECTORS; i++) c[i] = 0;                \
    int ahead = (begin), slot = 0, slot_ahead = 0;                                                \
    _Pragma("unroll") for (int i = 0; i < RING - 1; i++) COPY_CHUNK(end, LEFT, RIGHT, NEXT)       \
    for (int first = (begin); first < (end); first += CHUNK_DEPTH) {                              \
        wait_copies(RING - 2);                                                                    \
        SYNC_LOCAL;                                                                               \
        COPY_CHUNK(end, LEFT, RIGHT, NEXT)                                                        \
        MULTIPLY(scratch + slot * 2 * OPERAND, scratch + slot * 2 * OPERAND + OPERAND, c);        \
        slot = (slot + 1) % RING;                                                                 \
    }                                                                                             \
    SYNC_LOCAL;
/* Let the chunk at `ahead` come, and go on to the next. */
#define COPY_CHUNK(end, LEFT, RIGHT, NEXT) {                                                      \
    local scalar *chunk = scratch + slot_ahead * 2 * OPERAND;                                     \
    if (ahead < (end))                                                                            \
        _Pragma("unroll") for (int l = 0; l < LOADS; l++)                                         \
            if (IN_CHUNK(l)) {                                                                    \
                LEFT(l, ahead, COPY, chunk)                                                       \
                RIGHT(l, ahead, COPY, COPY_LANES, chunk + OPERAND)                                \
                NEXT(l, ahead + CHUNK_DEPTH)                                                      \
            }                                                                                     \
    end_copies();                                                                                 \
    ahead += CHUNK_DEPTH;                                                                         \
    slot_ahead = (slot_ahead + 1) % RING;                                                         \
}
#define COPY(l, place, address, inside) copy_vector(place, address, inside)
#define COPY_LANES(l, place, address, inside)                                                     \
    _Pragma("unroll") for (int q = 0; q < WIDTH; q++) copy_scalar((place) + q * COLUMN_STRIDE, (address) + q, inside)
#else
#define SUM_CHUNKS(begin, end, LEFT, RIGHT, NEXT, MULTIPLY)                                       \
    real a[LOADS], b[LOADS], c[TILE_ROWS * TILE_VECTORS];                                         \
    _Pragma("unroll") for (int i = 0; i < TILE_ROWS * TILE_VECTORS; i++) c[i] = 0;                \
    for (int first = (begin) - CHUNK_DEPTH, slot = 0; first < (end); first += CHUNK_DEPTH, slot ^= 1) { \
        local scalar *chunk = scratch + slot * 2 * OPERAND, *after = scratch + (slot ^ 1) * 2 * OPERAND; \
        const bool more = first + CHUNK_DEPTH < (end);                                            \
        if (more)                                                                                 \
            _Pragma("unroll") for (int l = 0; l < LOADS; l++)                                     \
                if (IN_CHUNK(l)) {                                                                \
                    LEFT(l, first + CHUNK_DEPTH, FETCH_LEFT, after)                               \
                    RIGHT(l, first + CHUNK_DEPTH, FETCH_RIGHT, FETCH_RIGHT, after)                \
                }                                                                                 \
        if (first >= (begin)) MULTIPLY(chunk, chunk + OPERAND, c);                                \
        if (more)                                                                                 \
            _Pragma("unroll") for (int l = 0; l < LOADS; l++)                                     \
                if (IN_CHUNK(l)) {                                                                \
                    LEFT(l, first + CHUNK_DEPTH, STORE_LEFT, after)                               \
                    RIGHT(l, first + CHUNK_DEPTH, STORE_RIGHT, STORE_LANES, after + OPERAND)      \
                    NEXT(l, first + 2 * CHUNK_DEPTH)                                              \
                }                                                                                 \
        SYNC_LOCAL;                                                                               \
    }
#define FETCH_LEFT(l, place, address, inside) a[l] = (inside) ? load(address) : (real)0
#define FETCH_RIGHT(l, place, address, inside) b[l] = (inside) ? load(address) : (real)0
#define STORE_LEFT(l, place, address, inside) *(local real *)(place) = a[l]
#define STORE_RIGHT(l, place, address, inside) *(local real *)(place) = b[l]
#define STORE_LANES(l, place, address, inside)                                                    \
    _Pragma("unroll") for (int q = 0; q < WIDTH; q++) (place)[q * COLUMN_STRIDE] = LANE(b[l], q)
#endif
#define NOTHING(l, first)

/* Rows n0 .. of the input times columns o0 .. of the weights. */
#define INPUT_BY_ROWS(l, first, PUT, chunk) {                                                     \
    const int column = (first) + VECTOR_COLUMN(l, CHUNK_DEPTH / WIDTH);                           \
    PUT(l, (chunk) + ROWS_PLACE(l), left[l] + column, column < inputs);                           \
}
#define WEIGHTS(l, first, PUT, PUT_LANES, chunk) {                                                \
    const int row = (first) + VECTOR_ROW(l, SIZE / WIDTH), column = o0 + VECTOR_COLUMN(l, SIZE / WIDTH); \
    PUT(l, (chunk) + COLUMNS_PLACE(l), weights + (size_t)row * width + column, row < inputs && column < width); \
}
static inline void JOIN(sum_forward_, SIZE)(local const Step *step, local const Stage *stage, int n0, int o0,
                                            local scalar *scratch) {
    const int inputs = stage->inputs, width = padded(stage->outputs);
    const global scalar *weights = step->parameters + stage->weights, *left[LOADS];
#pragma unroll
    for (int l = 0; l < LOADS; l++)
        left[l] = input_row(step, stage, SMALLER(n0 + VECTOR_ROW(l, CHUNK_DEPTH / WIDTH), step->rows - 1), inputs);
    SUM_CHUNKS(0, inputs, INPUT_BY_ROWS, WEIGHTS, NOTHING, JOIN(multiply_rows_, SIZE))
    JOIN(add_slices_, SIZE)(c, true, scratch);
}

/* Rows n0 .. of the output's gradient times rows i0 .. of the weights, which go to local memory by columns. */
#define WEIGHTS_BY_ROWS(l, first, PUT, PUT_LANES, chunk) {                                        \
    const int row = i0 + VECTOR(l) % SIZE, k = VECTOR(l) / SIZE * WIDTH, column = (first) + k;    \
    PUT_LANES(l, (chunk) + k * COLUMN_STRIDE + VECTOR(l) % SIZE, weights + (size_t)row * width + column, \
              row < stage->outputs && column < inputs);                                           \
}
static inline void JOIN(sum_input_, SIZE)(local const Step *step, local const Stage *stage, int n0, int i0,
                                          local scalar *scratch) {
    const int inputs = stage->inputs, width = padded(inputs);
    const global scalar *weights = step->parameters + stage->weights, *left[LOADS];
#pragma unroll
    for (int l = 0; l < LOADS; l++)
        left[l] = input_row(step, stage, SMALLER(n0 + VECTOR_ROW(l, CHUNK_DEPTH / WIDTH), step->rows - 1), inputs);
    SUM_CHUNKS(0, inputs, INPUT_BY_ROWS, WEIGHTS_BY_ROWS, NOTHING, JOIN(multiply_rows_, SIZE))
    JOIN(add_slices_, SIZE)(c, true, scratch);
}

/* Columns i0 .. of the input, and a column of ones for the bias, times columns o0 .. of the output's gradient. Which row
 * a sample is has been looked up one chunk before. The vector that holds
 * the ones is put in by hand. */
#define INPUT_BY_COLUMNS(l, first, PUT, chunk) {                                                  \
    const int row = (first) + VECTOR_ROW(l, SIZE / WIDTH), column = i0 + VECTOR_COLUMN(l, SIZE / WIDTH); \
    if (column < padded(inputs) && !(ones && column + WIDTH > inputs))                            \
        PUT(l, (chunk) + COLUMNS_PLACE(l), left[l] + column, row < end);                          \
    else if (column <= inputs && ones)                                                            \
        *(local real *)((chunk) + COLUMNS_PLACE(l)) =                                             \
            LANES == inputs - column ? (real)1 : column < inputs && row < end ? load(left[l] + column) : (real)0; \
    else                                                                                          \
        *(local real *)((chunk) + COLUMNS_PLACE(l)) = 0;                                          \
}
#define OUTPUT_GRADIENT(l, first, PUT, PUT_LANES, chunk) {                                        \
    const int row = (first) + VECTOR_ROW(l, SIZE / WIDTH), column = o0 + VECTOR_COLUMN(l, SIZE / WIDTH); \
    PUT(l, (chunk) + COLUMNS_PLACE(l), dz + (size_t)row * width + column, row < end && column < width); \
}
#define LOOK_UP(l, first) {                                                                       \
    if (looks_up) left[l] = input_row(step, stage, SMALLER((first) + VECTOR_ROW(l, SIZE / WIDTH), end - 1), inputs); \
    else left[l] += CHUNK_DEPTH * padded(inputs);                                                 \
}
static inline void JOIN(sum_weights_, SIZE)(local const Step *step, local const Stage *stage, int i0, int o0,
                                            local scalar *scratch) {
    const int inputs = stage->inputs, width = padded(stage->outputs), end = SMALLER(stage->rows_end, step->rows);
    const bool ones = stage->bias, looks_up = stage->source < 0 && step->run->ordered;
    const global scalar *dz = step->workspace + stage->gradient, *left[LOADS];
#pragma unroll
    for (int l = 0; l < LOADS; l++)
        left[l] = input_row(step, stage, looks_up ? SMALLER(stage->rows_begin + VECTOR_ROW(l, SIZE / WIDTH), end - 1)
                                                  : stage->rows_begin + VECTOR_ROW(l, SIZE / WIDTH), inputs);
    SUM_CHUNKS(stage->rows_begin, end, INPUT_BY_COLUMNS, OUTPUT_GRADIENT, LOOK_UP, JOIN(multiply_columns_, SIZE))
    JOIN(add_slices_, SIZE)(c, false, scratch);
}

#undef SLICES
#undef CHUNK_DEPTH
#undef SLICE_ITEMS
#undef ITEM_COLUMNS
#undef ITEM_ROWS
#undef TILE_ROWS
#undef TILE_VECTORS
#undef ROW_STRIDE
#undef COLUMN_STRIDE
#undef OPERAND
#undef CHUNK_VECTORS
#undef LOADS
#undef RING
#undef VECTOR
#undef IN_CHUNK
#undef VECTOR_ROW
#undef VECTOR_COLUMN
#undef ROWS_PLACE
#undef COLUMNS_PLACE
#undef ROW_OF
#undef SUM_CHUNKS
#undef COPY_CHUNK
#undef COPY
#undef COPY_LANES
#undef FETCH_LEFT
#undef FETCH_RIGHT
#undef STORE_LEFT
#undef STORE_RIGHT
#undef STORE_LANES
#undef NOTHING
#undef INPUT_BY_ROWS
#undef WEIGHTS
#undef WEIGHTS_BY_ROWS
#undef INPUT_BY_COLUMNS
#undef OUTPUT_GRADIENT
#undef LOOK_UP
