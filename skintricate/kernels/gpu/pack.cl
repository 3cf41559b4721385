/* Packs operands as wgmma.cl reads them: `inputs` steps of k by `outputs` columns, or rows, in vectors of four registers.
 * `code` tells which operand it is:
 *
 * RIGHT_BY_ROWS      a tensor at `source`, or else weights, that lies by rows
 * RIGHT_BY_COLUMNS   the same by columns
 * LEFT_BY_COLUMNS    that of a gradient of weights: columns of X, or of the tensor at `source`, with ones for the bias
 *
 * Steps of k are rows of the batch in a tensor and in X; those beyond the step's are zeros. An entry has 512 vectors: the
 * four of a column after each other; of a left operand, a warp's of its lanes' upper row, then those of the lower one.
 *
 * ROWS_OF_X          is no packed operand, but rows of X in the order of the step: many tiles read them, and as they lie,
 *                    each is in another page of the memory
 */
#if PASSES == 0
#define IN_VECTOR 8
#define PACK_REGISTER(y, rest, number, q) y = bfloat16_pair((number)[2 * (q)], (number)[2 * (q) + 1]);
#define LEFT_STEP(lane, i) ((i) / 4 * 16 + (lane) % 4 * 4 + (i) % 4)
#define RIGHT_STEP(v, i) ((v) / 2 * 16 + 4 * ((i) / 2) + (v) % 2 * 2 + (i) % 2)
#else
#define IN_VECTOR 4
#define PACK_REGISTER(y, rest, number, q) SPLIT(as_uint((number)[q]), y, rest)
#define LEFT_STEP(lane, q) ((lane) % 4 * 4 + (q))
#define RIGHT_STEP(v, q) (4 * (q) + (v))
#endif
/* The numbers of vector `in_entry` of the entry of steps first .. and columns c0 ... All loads are asked for, from another
 * place where there is nothing, so that none waits for the one before. */
static inline void load_left(STEP step, STAGE stage, int first, int c0, int in_entry, bool ordered, float *number) {
    const int columns = stage->channels, lane = in_entry % 32;
    const int column = c0 + in_entry / 64 * 16 + in_entry / 32 % 2 * 8 + lane / 4;
    const int end = SMALLER(step->rows, stage->inputs), one = column == columns && stage->bias;
    const bool is_x = stage->source < 0;
    const size_t before = ordered ? 0 : (size_t)step->first * padded(columns);
    const global float *x = (is_x ? step->X + before : step->workspace + stage->source) + SMALLER(column, columns - 1);
    int rows[IN_VECTOR];
#pragma unroll
    for (int q = 0; q < IN_VECTOR; q++) {
        const int row = SMALLER(first + LEFT_STEP(lane, q), end - 1);
        rows[q] = ordered ? step->x_order[step->first + row] : row;
    }
#pragma unroll
    for (int q = 0; q < IN_VECTOR; q++) number[q] = x[(size_t)rows[q] * padded(columns)];
#pragma unroll
    for (int q = 0; q < IN_VECTOR; q++) {
        const float inside = column < columns ? number[q] : (float)one;
        number[q] = first + LEFT_STEP(lane, q) < end ? inside : 0;
    }
}
static inline void load_right(STEP step, STAGE stage, int first, int c0, int in_entry, bool ordered, float *number) {
    const int v = in_entry % 4, column = c0 + in_entry / 4, inputs = stage->inputs, outputs = stage->outputs;
    const bool is_tensor = stage->source >= 0, by_columns = stage->code == RIGHT_BY_COLUMNS;
    const int end = is_tensor ? SMALLER(step->rows, inputs) : inputs;
    const size_t stride = by_columns ? 1 : padded(outputs);
    const global float *matrix = (is_tensor ? step->workspace + stage->source : step->parameters + stage->weights)
                                 + (size_t)SMALLER(column, outputs - 1) * (by_columns ? padded(inputs) : 1);
#pragma unroll
    for (int q = 0; q < IN_VECTOR; q++) number[q] = matrix[SMALLER(first + RIGHT_STEP(v, q), end - 1) * stride];
#pragma unroll
    for (int q = 0; q < IN_VECTOR; q++) number[q] = first + RIGHT_STEP(v, q) < end && column < outputs ? number[q] : 0;
}
static inline uint4 packed_left(const float *number) {
    uint y[4], rest[4];
#pragma unroll
    for (int q = 0; q < 4; q++)
#if PASSES == 3
        y[q] = as_uint(number[q]);
#else
        PACK_REGISTER(y[q], rest[q], number, q)
#endif
    return (uint4)(y[0], y[1], y[2], y[3]);
}
static inline uint4 packed_right(const float *number, uint4 *rests) {
    uint y[4], rest[4];
#pragma unroll
    for (int q = 0; q < 4; q++) PACK_REGISTER(y[q], rest[q], number, q)
#if PASSES == 3
    *rests = (uint4)(rest[0], rest[1], rest[2], rest[3]);
#endif
    return (uint4)(y[0], y[1], y[2], y[3]);
}
static inline int place_of_right(int in_entry) { return in_entry ^ in_entry / 8 % 4; }

static inline void copy_rows_of_x(STEP step, STAGE stage, int tile) {
    const int width = padded(stage->inputs) / WIDTH, stride = stage->tiles * TENSOR_ITEMS;
    global real *target = (global real *)(step->workspace + stage->target);
    for (int v = tile * TENSOR_ITEMS + ITEM; v < step->rows * width; v += stride)
        target[v] = ((const global real *)step->X)[x_row(step, v / width) * width + v % width];
}

/* Groups take turns of PACKED_TOGETHER vectors an item, the panels of a chunk one after the other. */
LARGE_KERNEL pack_operands(STEP_ARGUMENTS, int first_stage, int end_stage) {
    BEGIN_LARGE
    const bool is_left = stage->code == LEFT_BY_COLUMNS;
    /* A device that has no rows of a step packs none: there is no row in whose place another could be read. */
    if (step->rows == 0 && (is_left || stage->source >= 0)) return;
    if (stage->code == ROWS_OF_X) {
        copy_rows_of_x(step, stage, tile);
        return;
    }
    const int chunks = (stage->inputs + CHUNK - 1) / CHUNK;
    const int panels = (stage->outputs + TENSOR_COLUMNS - 1) / TENSOR_COLUMNS;
    const int vectors = chunks * panels * 512, planes = is_left ? 1 : PLANES, turn = PACKED_TOGETHER * TENSOR_ITEMS;
    global uint4 *target = (global uint4 *)(step->workspace + stage->target);
    for (int begin = tile * turn; begin < vectors; begin += stage->tiles * turn) {
        float number[PACKED_TOGETHER][IN_VECTOR];
        uint4 packed[PACKED_TOGETHER], rests[PACKED_TOGETHER];
        global uint4 *place[PACKED_TOGETHER];
        /* All that is read comes before anything is written, so that it comes together. */
#define LOAD_VECTORS(LOAD, PLACE, ordered)                                                        \
        for (int i = 0; i < PACKED_TOGETHER; i++) {                                               \
            const int vector = SMALLER(begin + i * TENSOR_ITEMS + ITEM, vectors - 1), in_entry = vector % 512; \
            const int chunk = vector / 512 / panels, panel = vector / 512 % panels;               \
            place[i] = target + (size_t)(panel * chunks + chunk) * (planes * 512) + PLACE;        \
            LOAD(step, stage, chunk * CHUNK, panel * TENSOR_COLUMNS, in_entry, ordered, number[i]); \
        }
        if (is_left) {
            if (stage->source < 0 && runs->ordered) {
#pragma unroll
                LOAD_VECTORS(load_left, in_entry, true)
            } else {
#pragma unroll
                LOAD_VECTORS(load_left, in_entry, false)
            }
#pragma unroll
            for (int i = 0; i < PACKED_TOGETHER; i++) packed[i] = packed_left(number[i]);
        } else {
#pragma unroll
            LOAD_VECTORS(load_right, place_of_right(in_entry), false)
#pragma unroll
            for (int i = 0; i < PACKED_TOGETHER; i++) packed[i] = packed_right(number[i], rests + i);
        }
#pragma unroll
        for (int i = 0; i < PACKED_TOGETHER; i++) {
            if (begin + i * TENSOR_ITEMS >= vectors) break;
            *place[i] = packed[i];
            if (PLANES == 2 && !is_left) place[i][512] = rests[i];
        }
    }
}
