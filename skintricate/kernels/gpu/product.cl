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
#define RING 4

#if RING * 2 * OPERAND > SCRATCH || 2 * SIZE * SIZE > SCRATCH
#error "A wide product needs more scratch than SCRATCH."
#endif
#if SIZE * CHUNK_DEPTH != ITEMS * WIDTH
#error "A chunk of an operand is a vector for every work-item."
#endif

/* Row and column of a work-item's vector in a chunk whose rows have so many vectors. */
#define VECTOR_ROW(row_vectors) (ITEM / (row_vectors))
#define VECTOR_COLUMN(row_vectors) (ITEM % (row_vectors) * WIDTH)
/* Its place in an operand by rows of CHUNK_DEPTH, and by columns: rows of SIZE. */
#define ROWS_PLACE (VECTOR_ROW(CHUNK_DEPTH / WIDTH) * ROW_STRIDE + VECTOR_COLUMN(CHUNK_DEPTH / WIDTH))
#define COLUMNS_PLACE (VECTOR_ROW(SIZE / WIDTH) * COLUMN_STRIDE + VECTOR_COLUMN(SIZE / WIDTH))

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

/* The sum over [begin, end) into c. LEFT(k, PUT, chunk) and RIGHT do PUT(place, address, whether it is inside) with the
 * work-item's vector of the chunk at k; NEXT(k) makes ready for the chunk that follows. */
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
    if (ahead < (end)) {                                                                          \
        LEFT(ahead, copy_vector, chunk)                                                           \
        RIGHT(ahead, copy_vector, COPY_LANES, chunk + OPERAND)                                    \
        NEXT(ahead + CHUNK_DEPTH)                                                                 \
    }                                                                                             \
    end_copies();                                                                                 \
    ahead += CHUNK_DEPTH;                                                                         \
    slot_ahead = (slot_ahead + 1) % RING;                                                         \
}
#define COPY_LANES(place, address, inside)                                                        \
    _Pragma("unroll") for (int q = 0; q < WIDTH; q++) copy_scalar((place) + q * COLUMN_STRIDE, (address) + q, inside)
#else
#define SUM_CHUNKS(begin, end, LEFT, RIGHT, NEXT, MULTIPLY)                                       \
    real a, b, c[TILE_ROWS * TILE_VECTORS];                                                       \
    _Pragma("unroll") for (int i = 0; i < TILE_ROWS * TILE_VECTORS; i++) c[i] = 0;                \
    for (int first = (begin) - CHUNK_DEPTH, slot = 0; first < (end); first += CHUNK_DEPTH, slot ^= 1) { \
        local scalar *chunk = scratch + slot * 2 * OPERAND, *after = scratch + (slot ^ 1) * 2 * OPERAND; \
        const bool more = first + CHUNK_DEPTH < (end);                                            \
        if (more) {                                                                               \
            LEFT(first + CHUNK_DEPTH, FETCH_LEFT, after)                                          \
            RIGHT(first + CHUNK_DEPTH, FETCH_RIGHT, FETCH_RIGHT, after)                           \
        }                                                                                         \
        if (first >= (begin)) MULTIPLY(chunk, chunk + OPERAND, c);                                \
        if (more) {                                                                               \
            LEFT(first + CHUNK_DEPTH, STORE_LEFT, after)                                          \
            RIGHT(first + CHUNK_DEPTH, STORE_RIGHT, STORE_LANES, after + OPERAND)                 \
            NEXT(first + 2 * CHUNK_DEPTH)                                                         \
        }                                                                                         \
        SYNC_LOCAL;                                                                               \
    }
#define FETCH_LEFT(place, address, inside) a = (inside) ? load(address) : (real)0
#define FETCH_RIGHT(place, address, inside) b = (inside) ? load(address) : (real)0
#define STORE_LEFT(place, address, inside) *(local real *)(place) = a
#define STORE_RIGHT(place, address, inside) *(local real *)(place) = b
#define STORE_LANES(place, address, inside)                                                       \
    _Pragma("unroll") for (int q = 0; q < WIDTH; q++) (place)[q * COLUMN_STRIDE] = LANE(b, q)
#endif
#define NOTHING(first)

/* Rows r0 .. of the left operand, a tensor or X by rows, times columns j0 .. of the right one, a matrix of the weights
 * whose rows are `width` wide. */
#define DEFINE_SUM_OF_ROWS(NAME, WIDTH_OF_WEIGHTS, RIGHT)                                         \
static inline void JOIN(NAME, SIZE)(STEP step, STAGE stage, int r0, int j0, local scalar *scratch) { \
    const int inputs = stage->inputs, width = padded(WIDTH_OF_WEIGHTS);                           \
    const global scalar *weights = step->parameters + stage->weights;                             \
    const global scalar *left = input_row(step, stage, SMALLER(r0 + VECTOR_ROW(CHUNK_DEPTH / WIDTH), step->rows - 1), inputs); \
    SUM_CHUNKS(0, inputs, INPUT_BY_ROWS, RIGHT, NOTHING, JOIN(multiply_rows_, SIZE))              \
    JOIN(add_slices_, SIZE)(c, true, scratch);                                                    \
}
#define INPUT_BY_ROWS(first, PUT, chunk) {                                                        \
    const int column = (first) + VECTOR_COLUMN(CHUNK_DEPTH / WIDTH);                              \
    PUT((chunk) + ROWS_PLACE, left + column, column < inputs);                                    \
}
#define WEIGHTS(first, PUT, PUT_LANES, chunk) {                                                   \
    const int row = (first) + VECTOR_ROW(SIZE / WIDTH), column = j0 + VECTOR_COLUMN(SIZE / WIDTH); \
    PUT((chunk) + COLUMNS_PLACE, weights + (size_t)row * width + column, row < inputs && column < width); \
}
/* Rows j0 .. of the weights, which go to local memory by columns. */
#define WEIGHTS_BY_ROWS(first, PUT, PUT_LANES, chunk) {                                           \
    const int row = j0 + ITEM % SIZE, k = ITEM / SIZE * WIDTH, column = (first) + k;              \
    PUT_LANES((chunk) + k * COLUMN_STRIDE + ITEM % SIZE, weights + (size_t)row * width + column,  \
              row < stage->outputs && column < inputs);                                           \
}
DEFINE_SUM_OF_ROWS(sum_forward_, stage->outputs, WEIGHTS)
DEFINE_SUM_OF_ROWS(sum_input_, stage->inputs, WEIGHTS_BY_ROWS)

/* Columns r0 .. of the input, and a column of ones for the bias, times columns j0 .. of the output's gradient. Which row
 * a sample is has been looked up one chunk before. The vector that holds the ones is put in by hand. */
#define INPUT_BY_COLUMNS(first, PUT, chunk) {                                                     \
    const int row = (first) + VECTOR_ROW(SIZE / WIDTH), column = r0 + VECTOR_COLUMN(SIZE / WIDTH); \
    if (column < padded(inputs) && !(ones && column + WIDTH > inputs))                            \
        PUT((chunk) + COLUMNS_PLACE, left + column, row < end);                                   \
    else if (column <= inputs && ones)                                                            \
        *(local real *)((chunk) + COLUMNS_PLACE) =                                                \
            LANES == inputs - column ? (real)1 : column < inputs && row < end ? load(left + column) : (real)0; \
    else                                                                                          \
        *(local real *)((chunk) + COLUMNS_PLACE) = 0;                                             \
}
#define OUTPUT_GRADIENT(first, PUT, PUT_LANES, chunk) {                                           \
    const int row = (first) + VECTOR_ROW(SIZE / WIDTH), column = j0 + VECTOR_COLUMN(SIZE / WIDTH); \
    PUT((chunk) + COLUMNS_PLACE, dz + (size_t)row * width + column, row < end && column < width); \
}
#define LOOK_UP(first) {                                                                          \
    if (looks_up) left = input_row(step, stage, SMALLER((first) + VECTOR_ROW(SIZE / WIDTH), end - 1), inputs); \
    else left += CHUNK_DEPTH * padded(inputs);                                                    \
}
static inline void JOIN(sum_weights_, SIZE)(STEP step, STAGE stage, int part, int r0, int j0,
                                            local scalar *scratch) {
    const int inputs = stage->inputs, width = padded(stage->outputs), end = end_of_part(step, stage, part);
    const int row = begin_of_part(stage, part) + VECTOR_ROW(SIZE / WIDTH);
    const bool ones = stage->bias, looks_up = stage->source < 0 && step->run->ordered;
    const global scalar *dz = step->workspace + stage->gradient;
    const global scalar *left = input_row(step, stage, looks_up ? SMALLER(row, end - 1) : row, inputs);
    SUM_CHUNKS(begin_of_part(stage, part), end, INPUT_BY_COLUMNS, OUTPUT_GRADIENT, LOOK_UP, JOIN(multiply_columns_, SIZE))
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
#undef RING
#undef VECTOR_ROW
#undef VECTOR_COLUMN
#undef ROWS_PLACE
#undef COLUMNS_PLACE
#undef ROW_OF
#undef SUM_CHUNKS
#undef COPY_CHUNK
#undef COPY_LANES
#undef FETCH_LEFT
#undef FETCH_RIGHT
#undef STORE_LEFT
#undef STORE_RIGHT
#undef STORE_LANES
#undef NOTHING
#undef DEFINE_SUM_OF_ROWS
#undef INPUT_BY_ROWS
#undef WEIGHTS
#undef WEIGHTS_BY_ROWS
#undef INPUT_BY_COLUMNS
#undef OUTPUT_GRADIENT
#undef LOOK_UP
