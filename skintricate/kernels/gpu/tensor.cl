/* Wide products on NVIDIA's tensor cores: a tile of 128 x 128 by four warps, each 64 x 64 in fragments of 16 x 8.
 *
 * PASSES 1 and 3: see mma.cl. PASSES 0: operands are rounded to bfloat16 ("medium").
 *
 * Both operands lie in local memory as in global memory, by rows or by columns, in vectors of four whose places are
 * exchanged so that the 32 lanes that read a fragment are in different banks. RING chunks of DEPTH are there or on
 * their way.
 */
#define AT_ONCE 8
/* Fragments of a warp's columns. */
#define FRAGMENTS (TENSOR_COLUMNS / 16)
#if PASSES == 0
#define TENSOR_DEPTH 16
#define TENSOR_RING 2
#else
#define TENSOR_DEPTH 8
#define TENSOR_RING 5
#endif
#define LEFT_OPERAND (TENSOR_ROWS * TENSOR_DEPTH)
#define TENSOR_CHUNK (LEFT_OPERAND + TENSOR_COLUMNS * TENSOR_DEPTH)
#define TENSOR_SCRATCH RING_OR_HALF(TENSOR_RING * TENSOR_CHUNK)
/* Vectors of a work-item in an operand's chunk of so many rows, or columns; where vector l lies in it. */
#define TENSOR_LOADS(size) ((size) * TENSOR_DEPTH / 4 / TENSOR_ITEMS)
#define TENSOR_VECTOR(l) (ITEM + (l) * TENSOR_ITEMS)
#define IN_ROW(l) (TENSOR_VECTOR(l) / (TENSOR_DEPTH / 4))
#define IN_ROW_COLUMN(l) (TENSOR_VECTOR(l) % (TENSOR_DEPTH / 4) * 4)
#define IN_COLUMN(l, size) (TENSOR_VECTOR(l) / ((size) / 4))
#define IN_COLUMN_COLUMN(l, size) (TENSOR_VECTOR(l) % ((size) / 4) * 4)
/* Places of element (m, k), which lies by rows of DEPTH or by columns: rows of SIZE. */
#define BY_ROWS(m, k) ((m) * TENSOR_DEPTH + ((k) ^ (m) / (32 / TENSOR_DEPTH) % (TENSOR_DEPTH / 4) * 4))
#define BY_COLUMNS(m, k, size) ((k) * (size) + ((m) ^ (k) % 4 * 8))

#define MMA_BFLOAT16(c, a, b)                                                                     \
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
        : "+f"((c).s0), "+f"((c).s1), "+f"((c).s2), "+f"((c).s3)                                  \
        : "r"((a)[0]), "r"((a)[1]), "r"((a)[2]), "r"((a)[3]), "r"((b)[0]), "r"((b)[1]))

/* Four 8 x 4 blocks of numbers that lie by rows: lane l tells where row l % 8 of block l / 8 begins. */
static inline uint4 load_blocks(local const float *row) {
    uint4 x;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.s0), "=r"(x.s1), "=r"(x.s2), "=r"(x.s3) : "r"(local_address(row)) : "memory");
    return x;
}
/* Fragment i of the left operand, 16 x 8, and fragments j and j + 1 of the right one, 8 x 8, at column k of the chunk. */
#define LEFT_BY_ROWS(i, k) load_blocks(left + BY_ROWS(m0 + 16 * (i) + lane % 16, (k) + lane / 16 * 4))
#define RIGHT_BY_ROWS(j, k) load_blocks(right + BY_ROWS(n0 + 8 * (j) + lane / 16 * 8 + lane % 8, (k) + lane / 8 % 2 * 4))
#define LEFT_AT(m, k) as_uint(left[BY_COLUMNS(m0 + group + (m), member + (k), TENSOR_ROWS)])
#define LEFT_BY_COLUMNS(i, k) (uint4)(LEFT_AT(16 * (i), k), LEFT_AT(16 * (i) + 8, k), LEFT_AT(16 * (i), (k) + 4), LEFT_AT(16 * (i) + 8, (k) + 4))
#define RIGHT_AT(n, k) as_uint(right[BY_COLUMNS(n0 + group + (n), member + (k), TENSOR_COLUMNS)])
#define RIGHT_BY_COLUMNS(j, k) (uint4)(RIGHT_AT(8 * (j), k), RIGHT_AT(8 * (j), (k) + 4), RIGHT_AT(8 * (j) + 8, k), RIGHT_AT(8 * (j) + 8, (k) + 4))

#define DEFINE_TENSOR_MULTIPLY(NAME, LEFT, RIGHT)                                                 \
static inline void NAME(local const float *left, local const float *right, float4 *c) {           \
    const int lane = ITEM % 32, group = lane / 4, member = lane % 4, m0 = ITEM / 32 % 2 * 64, n0 = ITEM / 64 * (TENSOR_COLUMNS / 2); \
    MULTIPLY_FRAGMENTS(LEFT, RIGHT)                                                               \
}
#if PASSES == 0
/* Rows of k are taken in an order in which a lane's pairs are those that it has for tf32: the same for both operands. */
#define MULTIPLY_FRAGMENTS(LEFT, RIGHT)                                                           \
    uint a[4][4], b[FRAGMENTS][2];                                                                \
    _Pragma("unroll") for (int i = 0; i < 4; i++) {                                               \
        const uint4 x = LEFT(i, 0), y = LEFT(i, 8);                                               \
        a[i][0] = bfloat16_pair(as_float(x.s0), as_float(x.s2));                                  \
        a[i][1] = bfloat16_pair(as_float(x.s1), as_float(x.s3));                                  \
        a[i][2] = bfloat16_pair(as_float(y.s0), as_float(y.s2));                                  \
        a[i][3] = bfloat16_pair(as_float(y.s1), as_float(y.s3));                                  \
    }                                                                                             \
    _Pragma("unroll") for (int j = 0; j < FRAGMENTS; j += 2) {                                    \
        const uint4 x = RIGHT(j, 0), y = RIGHT(j, 8);                                             \
        b[j][0] = bfloat16_pair(as_float(x.s0), as_float(x.s1));                                  \
        b[j][1] = bfloat16_pair(as_float(y.s0), as_float(y.s1));                                  \
        b[j + 1][0] = bfloat16_pair(as_float(x.s2), as_float(x.s3));                              \
        b[j + 1][1] = bfloat16_pair(as_float(y.s2), as_float(y.s3));                              \
    }                                                                                             \
    _Pragma("unroll") for (int i = 0; i < 4; i++)                                                 \
        _Pragma("unroll") for (int j = 0; j < FRAGMENTS; j++) MMA_BFLOAT16(c[i * FRAGMENTS + j], a[i], b[j]);
#else
#define MULTIPLY_FRAGMENTS(LEFT, RIGHT)                                                           \
    uint a[4][4], b[FRAGMENTS][2], a_rest[4][4], b_rest[FRAGMENTS][2];                            \
    _Pragma("unroll") for (int i = 0; i < 4; i++) {                                               \
        const uint4 x = LEFT(i, 0);                                                               \
        SPLIT(x.s0, a[i][0], a_rest[i][0]) SPLIT(x.s1, a[i][1], a_rest[i][1])                     \
        SPLIT(x.s2, a[i][2], a_rest[i][2]) SPLIT(x.s3, a[i][3], a_rest[i][3])                     \
    }                                                                                             \
    _Pragma("unroll") for (int j = 0; j < FRAGMENTS; j += 2) {                                    \
        const uint4 x = RIGHT(j, 0);                                                              \
        SPLIT(x.s0, b[j][0], b_rest[j][0]) SPLIT(x.s1, b[j][1], b_rest[j][1])                     \
        SPLIT(x.s2, b[j + 1][0], b_rest[j + 1][0]) SPLIT(x.s3, b[j + 1][1], b_rest[j + 1][1])     \
    }                                                                                             \
    _Pragma("unroll") for (int i = 0; i < 4; i++)                                                 \
        _Pragma("unroll") for (int j = 0; j < FRAGMENTS; j++) MULTIPLY_FRAGMENT(c[i * FRAGMENTS + j], a[i], b[j], a_rest[i], b_rest[j])
#endif
DEFINE_TENSOR_MULTIPLY(tensor_multiply_forward, LEFT_BY_ROWS, RIGHT_BY_COLUMNS)
DEFINE_TENSOR_MULTIPLY(tensor_multiply_input, LEFT_BY_ROWS, RIGHT_BY_ROWS)
DEFINE_TENSOR_MULTIPLY(tensor_multiply_weights, LEFT_BY_COLUMNS, RIGHT_BY_COLUMNS)

/* Where a work-item's vectors of both operands come from, go to in a chunk, and which chunks they are in: those that
 * begin before `end`. */
typedef struct {
    const global float *from;
    int place, end;
} Vectors;

/* The sum over [begin, end) of `left` and `right`, each going on by its step from chunk to chunk; COPY_LEFT(l, first, chunk)
 * lets vector l of the left operand come. */
#define SUM_TENSOR(begin, end, COPY_LEFT, right_step, MULTIPLY)                                   \
    float4 c[4 * FRAGMENTS];                                                                      \
    _Pragma("unroll") for (int i = 0; i < 4 * FRAGMENTS; i++) c[i] = 0;                           \
    int ahead = (begin), slot = 0, slot_ahead = 0;                                                \
    _Pragma("unroll") for (int i = 0; i < TENSOR_RING - 1; i++) COPY_AHEAD(end, COPY_LEFT, right_step) \
    for (int first = (begin); first < (end); first += TENSOR_DEPTH) {                             \
        wait_copies(TENSOR_RING - 2);                                                             \
        SYNC_LOCAL;                                                                               \
        COPY_AHEAD(end, COPY_LEFT, right_step)                                                    \
        MULTIPLY(scratch + slot, scratch + slot + LEFT_OPERAND, c);                               \
        slot = slot == (TENSOR_RING - 1) * TENSOR_CHUNK ? 0 : slot + TENSOR_CHUNK;                \
    }                                                                                             \
    SYNC_LOCAL;
#define COPY_AHEAD(end_, COPY_LEFT, right_step) {                                                 \
    if (ahead < (end_)) {                                                                         \
        _Pragma("unroll") for (int l = 0; l < TENSOR_LOADS(TENSOR_ROWS); l++) COPY_LEFT(l, ahead, scratch + slot_ahead) \
        _Pragma("unroll") for (int l = 0; l < TENSOR_LOADS(TENSOR_COLUMNS); l++) {                \
            copy_vector(scratch + slot_ahead + LEFT_OPERAND + right[l].place, right[l].from, ahead < right[l].end); \
            right[l].from += (right_step);                                                        \
        }                                                                                         \
    }                                                                                             \
    end_copies();                                                                                 \
    ahead += TENSOR_DEPTH;                                                                        \
    slot_ahead = slot_ahead == (TENSOR_RING - 1) * TENSOR_CHUNK ? 0 : slot_ahead + TENSOR_CHUNK;  \
}

/* Put the 64 rows of half the warps into scratch. */
static inline void store_half(const float4 *c, int warp_row, local float *scratch) {
    const int group = ITEM % 32 / 4, member = ITEM % 4, n0 = ITEM / 64 * (TENSOR_COLUMNS / 2);
    if (ITEM / 32 % 2 != warp_row) return;
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < FRAGMENTS; j++) {
            local float *p = scratch + (16 * i + group) * RESULT_STRIDE + n0 + 8 * j + 2 * member;
            *(local float2 *)p = c[i * FRAGMENTS + j].lo;
            *(local float2 *)(p + 8 * RESULT_STRIDE) = c[i * FRAGMENTS + j].hi;
        }
}

#define COPY_ROWS(l, first, chunk) {                                                              \
    copy_vector((chunk) + left[l].place, left[l].from, (first) < left[l].end);                    \
    left[l].from += TENSOR_DEPTH;                                                                 \
}
/* Columns j0 .. of the weights; rows j0 .. of them, which are columns of their transpose. */
#define RIGHT_FORWARD(l) {                                                                        \
    const int k = IN_COLUMN(l, TENSOR_COLUMNS), column = IN_COLUMN_COLUMN(l, TENSOR_COLUMNS);     \
    right[l].from = weights + (size_t)k * width + j0 + column;                                    \
    right[l].place = BY_COLUMNS(column, k, TENSOR_COLUMNS);                                       \
    right[l].end = j0 + column < width ? inputs - k : 0;                                          \
}
#define RIGHT_INPUT(l) {                                                                          \
    const int row = IN_ROW(l), k = IN_ROW_COLUMN(l);                                              \
    right[l].from = weights + (size_t)(j0 + row) * padded(inputs) + k;                            \
    right[l].place = BY_ROWS(row, k);                                                             \
    right[l].end = j0 + row < stage->outputs ? inputs - k : 0;                                    \
}

#define DEFINE_TENSOR_ROWS(NAME, RIGHT, right_step, MULTIPLY, OPERAND, FINISH)                    \
LARGE_KERNEL NAME(STEP_ARGUMENTS, int first_stage, int end_stage) {                               \
    BEGIN_LARGE                                                                                   \
    const int inputs = stage->inputs, width = padded(stage->outputs);                             \
    local float scratch[TENSOR_SCRATCH] __attribute__((aligned(16)));                             \
    Vectors left[TENSOR_LOADS(TENSOR_ROWS)], right[TENSOR_LOADS(TENSOR_COLUMNS)];                 \
    TILE_OF_ROWS                                                                                  \
    const global float *weights = step->parameters + stage->weights;                              \
    _Pragma("unroll") for (int l = 0; l < TENSOR_LOADS(TENSOR_ROWS); l++) {                       \
        const int n = IN_ROW(l), k = IN_ROW_COLUMN(l);                                            \
        left[l].from = input_row(step, stage, SMALLER(r0 + n, step->rows - 1), inputs) + k;       \
        left[l].place = BY_ROWS(n, k);                                                            \
        left[l].end = inputs - k;                                                                 \
    }                                                                                             \
    _Pragma("unroll") for (int l = 0; l < TENSOR_LOADS(TENSOR_COLUMNS); l++) RIGHT(l)             \
    SUM_TENSOR(0, inputs, COPY_ROWS, right_step, MULTIPLY)                                        \
    const real bias = bias_of(step, stage, j0 + ITEM % (TENSOR_COLUMNS / 4) * 4);                 \
    FOR_LARGE_SUMS(OPERAND, FINISH)                                                               \
}
DEFINE_TENSOR_ROWS(tensor_forward, RIGHT_FORWARD, TENSOR_DEPTH * width, tensor_multiply_forward,
                   (void)y[u], finish_forward(step, stage, r, j, sum + bias))
DEFINE_TENSOR_ROWS(tensor_input, RIGHT_INPUT, TENSOR_DEPTH, tensor_multiply_input,
                   load_for_input(step, stage, r, j, y + u), finish_input(step, stage, r, j, sum, y + u))

/* The bias is that of a column of ones, put in by hand. Where the samples have an order, their rows are looked up LOOK_AHEAD
 * chunks before they are asked for. */
#define LOOK_AHEAD 3
#define COPY_COLUMNS(l, first, chunk) {                                                           \
    if (looks_up) left[l].from = x + (size_t)rows[l][0] * padded(inputs) + r0 + IN_COLUMN_COLUMN(l, TENSOR_ROWS); \
    if (ones_lane[l] < WIDTH)                                                                     \
        *(local real *)((chunk) + left[l].place) =                                                \
            LANES == ones_lane[l] ? (real)1 : ones_lane[l] > 0 && (first) < left[l].end ? load(left[l].from) : (real)0; \
    else                                                                                          \
        copy_vector((chunk) + left[l].place, left[l].from, (first) < left[l].end);                \
    if (looks_up) {                                                                               \
        _Pragma("unroll") for (int q = 1; q < LOOK_AHEAD; q++) rows[l][q - 1] = rows[l][q];       \
        rows[l][LOOK_AHEAD - 1] = order_[SMALLER((first) + IN_COLUMN(l, TENSOR_ROWS) + LOOK_AHEAD * TENSOR_DEPTH, end - 1)]; \
    } else {                                                                                      \
        left[l].from += TENSOR_DEPTH * padded(inputs);                                            \
    }                                                                                             \
}
LARGE_KERNEL tensor_weights(STEP_ARGUMENTS, int first_stage, int end_stage) {
    BEGIN_LARGE
    const int inputs = stage->inputs, width = padded(stage->outputs);
    local float scratch[TENSOR_SCRATCH] __attribute__((aligned(16)));
    Vectors left[TENSOR_LOADS(TENSOR_ROWS)], right[TENSOR_LOADS(TENSOR_COLUMNS)];
    TILE_OF_WEIGHTS
    const int begin = stage->rows_begin, end = SMALLER(stage->rows_end, step->rows);
    const bool is_x = stage->source < 0, looks_up = is_x && runs->ordered;
    const global float *x = is_x ? step->X + (looks_up ? 0 : (size_t)step->first * padded(inputs))
                                 : step->workspace + stage->source;
    const global int *order_ = step->x_order + step->first;
    int rows[TENSOR_LOADS(TENSOR_ROWS)][LOOK_AHEAD], ones_lane[TENSOR_LOADS(TENSOR_ROWS)];
#pragma unroll
    for (int l = 0; l < TENSOR_LOADS(TENSOR_ROWS); l++) {
        const int k = IN_COLUMN(l, TENSOR_ROWS), column = IN_COLUMN_COLUMN(l, TENSOR_ROWS), i = r0 + column;
        ones_lane[l] = stage->bias && i <= inputs ? inputs - i : WIDTH;
        left[l].from = x + (size_t)(begin + k) * padded(inputs) + i;
        left[l].place = BY_COLUMNS(column, k, TENSOR_ROWS);
        left[l].end = i < padded(inputs) ? end - k : 0;
#pragma unroll
        for (int q = 0; q < LOOK_AHEAD; q++)
            rows[l][q] = looks_up && begin < end ? order_[SMALLER(begin + k + q * TENSOR_DEPTH, end - 1)] : 0;
    }
#pragma unroll
    for (int l = 0; l < TENSOR_LOADS(TENSOR_COLUMNS); l++) {
        const int k = IN_COLUMN(l, TENSOR_COLUMNS), column = IN_COLUMN_COLUMN(l, TENSOR_COLUMNS);
        right[l].from = step->workspace + stage->gradient + (size_t)(begin + k) * width + j0 + column;
        right[l].place = BY_COLUMNS(column, k, TENSOR_COLUMNS);
        right[l].end = j0 + column < width ? end - k : 0;
    }
    SUM_TENSOR(begin, end, COPY_COLUMNS, TENSOR_DEPTH * width, tensor_multiply_weights)
    FOR_LARGE_SUMS((void)y[u], store_gradient(step, stage, r, j, sum))
}
