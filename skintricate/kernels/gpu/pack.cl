/* Packs operands as wgmma.cl reads them: `inputs` steps of k by `outputs` columns, or rows. A work-item packs one vector of
 * four registers. `code` tells which operand it is:
 *
 * RIGHT_BY_ROWS      a tensor at `source`, or else weights, that lies by rows
 * RIGHT_BY_COLUMNS   the same by columns
 * LEFT_BY_COLUMNS    that of a gradient of weights: columns of X, or of the tensor at `source`, with ones for the bias
 *
 * Steps of k are rows of the batch in a tensor and in X; those beyond the step's are zeros. An entry has 512 vectors: the
 * four of a column after each other; of a left operand, a warp's of its lanes' upper row, then those of the lower one.
 */
#if PASSES == 0
#define PACK_REGISTER(y, rest, NUMBER, k) y = bfloat16_pair(NUMBER(k), NUMBER((k) + 1));
#define LEFT_STEP(lane, q) ((q) / 2 * 16 + (lane) % 4 * 4 + (q) % 2 * 2)
#define RIGHT_STEP(v, q) ((v) / 2 * 16 + 4 * (q) + (v) % 2 * 2)
#else
#define PACK_REGISTER(y, rest, NUMBER, k) SPLIT(as_uint(NUMBER(k)), y, rest)
#define LEFT_STEP(lane, q) ((lane) % 4 * 4 + (q))
#define RIGHT_STEP(v, q) (4 * (q) + (v))
#endif
#define INPUT_NUMBER(k) ((k) < end ? input_row(step, stage, k, columns)[column] : (k) < step->rows ? one : 0)
#define MATRIX_NUMBER(k) ((k) < end ? matrix[(k) * stride] : 0)
LARGE_KERNEL pack_operands(STEP_ARGUMENTS, int first_stage, int end_stage) {
    BEGIN_LARGE
    const int inputs = stage->inputs, width = padded(stage->outputs);
    const bool is_left = stage->code == LEFT_BY_COLUMNS;
    const int chunks = (inputs + CHUNK - 1) / CHUNK, vector = tile * TENSOR_ITEMS + ITEM;
    const int entry = vector / 512, in_entry = vector % 512, first = entry % chunks * CHUNK, c0 = entry / chunks * TENSOR_COLUMNS;
    global uint4 *target = (global uint4 *)(step->workspace + stage->target) + (size_t)entry * ((is_left ? 1 : PLANES) * 512);
    uint y[4], rest[4];
    if (is_left) {
        const int lane = in_entry % 32, column = c0 + in_entry / 64 * 16 + in_entry / 32 % 2 * 8 + lane / 4;
        const int columns = stage->channels, end = column < columns ? SMALLER(step->rows, inputs) : 0;
        const float one = column == columns && stage->bias;
#pragma unroll
        for (int q = 0; q < 4; q++)
#if PASSES == 3
            y[q] = as_uint(INPUT_NUMBER(first + LEFT_STEP(lane, q)));
#else
            PACK_REGISTER(y[q], rest[q], INPUT_NUMBER, first + LEFT_STEP(lane, q))
#endif
        target[in_entry] = (uint4)(y[0], y[1], y[2], y[3]);
    } else {
        const int in_panel = in_entry / 4, v = in_entry % 4, column = c0 + in_panel;
        const bool is_tensor = stage->source >= 0;
        const int end = column < stage->outputs ? (is_tensor ? SMALLER(step->rows, inputs) : inputs) : 0;
        const size_t stride = stage->code == RIGHT_BY_COLUMNS ? 1 : width;
        const global float *matrix = (is_tensor ? step->workspace + stage->source : step->parameters + stage->weights)
                                     + (size_t)column * (stage->code == RIGHT_BY_COLUMNS ? padded(inputs) : 1);
#pragma unroll
        for (int q = 0; q < 4; q++) PACK_REGISTER(y[q], rest[q], MATRIX_NUMBER, first + RIGHT_STEP(v, q))
        target += in_panel * 4 + (v ^ in_panel / 2 % 4);
        *target = (uint4)(y[0], y[1], y[2], y[3]);
#if PASSES == 3
        target[512] = (uint4)(rest[0], rest[1], rest[2], rest[3]);
#endif
    }
}
