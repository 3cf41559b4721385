/* Large products on Hopper's tensor cores (PTX's wgmma): a tile of 128 x 128 by two warpgroups of four warps, each of
 * which multiplies 64 rows with all columns and has its sums in registers.
 *
 * The right operand has been packed, see pack.cl: a panel of 128 columns in chunks of CHUNK steps of k, each an entry
 * of 8 kB that lies as the tensor cores read it, so that one bulk copy brings it; a second entry has the rests of the
 * numbers where PASSES is 3, see mma.cl. Of the left operand a lane copies what its own fragments need to a place of its
 * own in local memory, so nobody waits for anybody: from where it lies, or in a gradient of weights, where it lies by
 * columns, from what has been packed for it.
 *
 * A lane, `member` of four, has steps 16 b + 4 member + (0 .. 3) of k: any order will do if it is that of both operands.
 * In an entry a column's numbers are 64 bytes, four vectors whose places are exchanged: wgmma's swizzle of 64 bytes.
 *
 * The driver's compiler writes PTX for sm_90, where there is no wgmma; what follows //@ is a comment until backend/ptx.py
 * has the program translated again, for sm_90a.
 */
#define WARPS_OF_A_TILE (TENSOR_ITEMS / 32)
#define AT_ONCE 2
/* Words of an entry; steps of k in a chunk, numbers of a register; entries of a chunk; entries, and chunks of the left
 * operand, that are there or on their way. */
#define ENTRY 2048
#if PASSES == 0
#define CHUNK 32
#define IN_REGISTER 2
#else
#define CHUNK 16
#define IN_REGISTER 1
#endif
#if PASSES == 3
#define PLANES 2
#define RING 4
#else
#define PLANES 1
#define RING 3
#endif
#define LEFT_SLOTS (PASSES == 1 ? 2 : 1)
/* A lane's numbers of a chunk, of each of its two rows. */
#define NUMBERS (CHUNK / 4)
#define LEFT_WORDS (2 * NUMBERS * TENSOR_ITEMS)
#define TENSOR_SCRATCH RING_OR_HALF(RING * ENTRY + LEFT_SLOTS * LEFT_WORDS)

/* Registers that the tensor cores read or write while a warp goes on: what they hold stays there. */
#define FOUR(f, c, i) f((c)[i]), f((c)[(i) + 1]), f((c)[(i) + 2]), f((c)[(i) + 3])
#define SIXTEEN(f, c, i) FOUR(f, c, i), FOUR(f, c, (i) + 4), FOUR(f, c, (i) + 8), FOUR(f, c, (i) + 12)
#define SIXTY_FOUR(f, c) SIXTEEN(f, c, 0), SIXTEEN(f, c, 16), SIXTEEN(f, c, 32), SIXTEEN(f, c, 48)
#define SUM_OPERAND(x) "+f"(x)
#define HOLD(x) asm volatile("" : "+r"(x) :: "memory")
#define HOLD_SUMS(c) asm volatile("" : SIXTY_FOUR(SUM_OPERAND, c) :: "memory")

/* c (64 x 128 of a warpgroup) += a b, or = if `adds` is "ne". */
#if PASSES == 0
#define WGMMA_TYPE "m64n128k16.f32.bf16.bf16"
#define WGMMA_END "1, 1, 0;"
#else
#define WGMMA_TYPE "m64n128k8.f32.tf32.tf32"
#define WGMMA_END "1, 1;"
#endif
#define WGMMA_SUMS                                                                                \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"                                     \
    "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"                            \
    "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"                            \
    "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}"
#define WGMMA_THAT(adds, c, a, b)                                                                 \
    asm volatile("{\n.reg .pred p;\nsetp." adds ".b32 p, 0, 0;\n"                                 \
                 "//@wgmma.mma_async.sync.aligned." WGMMA_TYPE " " WGMMA_SUMS ", {%64,%65,%66,%67}, %68, p, " WGMMA_END "\n}" \
                 : SIXTY_FOUR(SUM_OPERAND, c) : "r"((a)[0]), "r"((a)[1]), "r"((a)[2]), "r"((a)[3]), "l"(b))
#define WGMMA(c, a, b) WGMMA_THAT("eq", c, a, b)
#define WGMMA_FIRST(c, a, b) WGMMA_THAT("ne", c, a, b)
#define BEGIN_WGMMA asm volatile("//@wgmma.fence.sync.aligned;" ::: "memory")
#define END_WGMMA asm volatile("//@wgmma.commit_group.sync.aligned;" ::: "memory")
/* Wait until at most so many of the latest groups of products are being made. */
#define WAIT_WGMMA(count) asm volatile("//@wgmma.wait_group.sync.aligned %0;" :: "n"(count) : "memory")

/* How the tensor cores find an entry: its address, 512 bytes from one group of eight columns to the next, the swizzle of
 * 64 bytes. The next steps of k are 32 bytes, 2 units, away. */
static inline ulong entry_descriptor(uint address) {
    return (ulong)(address >> 4 & 0x3fff) | (ulong)1 << 16 | (ulong)(512 >> 4) << 32 | (ulong)2 << 62;
}

/* A barrier in local memory that a bulk copy arrives at. */
static inline void begin_arrivals(local ulong *barrier_) {
    asm volatile("mbarrier.init.shared.b64 [%0], 1;" :: "r"(local_address(barrier_)) : "memory");
}
static inline void wait_arrival(local const ulong *barrier_, uint parity) {
    uint done;
    do {
        asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                     : "=r"(done) : "r"(local_address(barrier_)), "r"(parity) : "memory");
    } while (!done);
}
static inline void copy_entry(local float *to, const global float *from, local ulong *arrival) {
    const uint address = local_address(arrival);
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" :: "r"(address), "r"(4 * ENTRY) : "memory");
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 :: "r"(local_address(to)), "l"(from), "r"(4 * ENTRY), "r"(address) : "memory");
}
/* A warp has read the entry in a slot; the last of them to say so lets the entry that follows there come. The counter of
 * the slot is at 0 again then. */
static inline void release_slot(local float *ring, local ulong *arrivals, local int *readers, int slot,
                                const global float *next, bool more) {
    uint earlier;
    if (ITEM % 32) return;
    asm volatile("atom.shared.inc.u32 %0, [%1], %2;"
                 : "=r"(earlier) : "r"(local_address(readers + slot)), "n"(WARPS_OF_A_TILE - 1) : "memory");
    if (earlier == WARPS_OF_A_TILE - 1 && more) copy_entry(ring + slot * ENTRY, next, arrivals + slot);
}

/* A lane's numbers of a chunk, x[row * NUMBERS + m], as the registers of two steps. */
static inline void as_fragments(const float *x, uint (*a)[4], uint (*rest)[4]) {
#pragma unroll
    for (int k = 0; k < 2; k++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float *number = x + i % 2 * NUMBERS + (2 * k + i / 2) * IN_REGISTER;
#if PASSES == 0
            a[k][i] = bfloat16_pair(number[0], number[1]);
#else
            SPLIT(as_uint(number[0]), a[k][i], rest[k][i])
#endif
        }
}

/* What a product begins with; then where its packed columns j0 .. are, of so many chunks, of which the sum takes `count_`
 * from `first_`, and the first of them are asked for. */
#define BEGIN_PRODUCT                                                                             \
    BEGIN_LARGE                                                                                   \
    local float scratch[TENSOR_SCRATCH] __attribute__((aligned(1024)));                           \
    local ulong arrivals[RING];                                                                   \
    local int readers[RING];                                                                      \
    local float *const left_slots = scratch + RING * ENTRY;
#define BEGIN_RING(all_chunks, first_, count_)                                                    \
    const int chunks = (count_), entries = chunks * PLANES;                                       \
    const global float *panel = step->workspace + stage->packed                                   \
                                + ((size_t)(j0 / TENSOR_COLUMNS) * (all_chunks) + (first_)) * (PLANES * ENTRY); \
    if (ITEM < RING) {                                                                            \
        begin_arrivals(arrivals + ITEM);                                                          \
        readers[ITEM] = 0;                                                                        \
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");                        \
        asm volatile("fence.proxy.async;" ::: "memory");                                          \
    }                                                                                             \
    SYNC_LOCAL;                                                                                   \
    if (ITEM < RING && ITEM < entries) copy_entry(scratch + ITEM * ENTRY, panel + (size_t)ITEM * ENTRY, arrivals + ITEM);

/* The sum over all chunks into c. COPY_LEFT(chunk, slot) lets a lane's numbers of a chunk come to its place in a slot,
 * READ_LEFT(slot, a, rest) reads them as registers. Two chunks at a time: the tensor cores read the registers
 * of one while those of the other are filled. */
#define SUM_CHUNKS_BY_WGMMA(COPY_LEFT, READ_LEFT)                                                 \
    float c[64];                                                                                  \
    uint a[2][2][4], rest[2][2][4];                                                               \
    int slot = 0;                                                                                 \
    uint parity = 0;                                                                              \
    _Pragma("unroll") for (int i = 0; i < 64; i++) c[i] = 0;                                      \
    _Pragma("unroll") for (int s = 0; s < LEFT_SLOTS; s++) {                                      \
        if (s < chunks) COPY_LEFT(s, s)                                                           \
        end_copies();                                                                             \
    }                                                                                             \
    for (int first = 0; first < chunks; first += 2) {                                             \
        SUM_CHUNK(0, first, COPY_LEFT, READ_LEFT)                                                 \
        if (first + 1 >= chunks) break;                                                           \
        SUM_CHUNK(1, first + 1, COPY_LEFT, READ_LEFT)                                             \
    }                                                                                             \
    WAIT_WGMMA(0);                                                                                \
    HOLD_SUMS(c);                                                                                 \
    SYNC_LOCAL;
#define SUM_CHUNK(u, chunk, COPY_LEFT, READ_LEFT) {                                               \
    wait_copies(LEFT_SLOTS - 1);                                                                  \
    READ_LEFT((u) % LEFT_SLOTS, a[u], rest[u])                                                    \
    _Pragma("unroll") for (int i_ = 0; i_ < 8; i_++) HOLD(a[u][i_ / 4][i_ % 4]);                  \
    if ((chunk) + LEFT_SLOTS < chunks) COPY_LEFT((chunk) + LEFT_SLOTS, (u) % LEFT_SLOTS)          \
    end_copies();                                                                                 \
    MULTIPLY_CHUNK(u, chunk)                                                                      \
}
#define NEXT_SLOT if (++slot == RING) { slot = 0; parity ^= 1; }
#define RELEASE(slot_, entry)                                                                     \
    release_slot(scratch, arrivals, readers, slot_, panel + (size_t)((entry) + RING) * ENTRY, (entry) + RING < entries)
#if PASSES == 3
#define MULTIPLY_CHUNK(u, chunk) {                                                                \
    const int rests = slot + 1;                                                                   \
    const ulong b = entry_descriptor(local_address(scratch + slot * ENTRY)), b_rest = b + (4 * ENTRY >> 4); \
    float sum[64];                                                                                \
    wait_arrival(arrivals + slot, parity);                                                        \
    wait_arrival(arrivals + rests, parity);                                                       \
    BEGIN_WGMMA;                                                                                  \
    WGMMA_FIRST(sum, rest[u][0], b);                                                              \
    WGMMA(sum, rest[u][1], b + 2);                                                                \
    WGMMA(sum, a[u][0], b_rest);                                                                  \
    WGMMA(sum, a[u][1], b_rest + 2);                                                              \
    WGMMA(sum, a[u][0], b);                                                                       \
    WGMMA(sum, a[u][1], b + 2);                                                                   \
    END_WGMMA;                                                                                    \
    WAIT_WGMMA(0);                                                                                \
    HOLD_SUMS(sum);                                                                               \
    RELEASE(slot, 2 * (chunk));                                                                   \
    RELEASE(rests, 2 * (chunk) + 1);                                                              \
    NEXT_SLOT                                                                                     \
    NEXT_SLOT                                                                                     \
    _Pragma("unroll") for (int i = 0; i < 64; i++) c[i] += sum[i];                                \
}
#else
#define MULTIPLY_CHUNK(u, chunk) {                                                                \
    ulong b = entry_descriptor(local_address(scratch + slot * ENTRY)), b_next = b + 2;            \
    wait_arrival(arrivals + slot, parity);                                                        \
    asm volatile("" : "+l"(b), "+l"(b_next));                                                     \
    BEGIN_WGMMA;                                                                                  \
    WGMMA(c, a[u][0], b);                                                                         \
    WGMMA(c, a[u][1], b_next);                                                                    \
    END_WGMMA;                                                                                    \
    WAIT_WGMMA(1);                                                                                \
    if ((chunk) > 0) RELEASE(slot ? slot - 1 : RING - 1, (chunk) - 1);                            \
    NEXT_SLOT                                                                                     \
}
#endif

/* Put the 64 rows of a warpgroup into scratch. */
static inline void store_half(const float *c, int warpgroup, local float *scratch) {
    local float *p = scratch + (ITEM % 128 / 32 * 16 + ITEM % 32 / 4) * RESULT_STRIDE + ITEM % 4 * 2;
    if (ITEM / 128 != warpgroup) return;
#pragma unroll
    for (int j = 0; j < TENSOR_COLUMNS / 8; j++) {
        *(local float2 *)(p + 8 * j) = (float2)(c[4 * j], c[4 * j + 1]);
        *(local float2 *)(p + 8 * j + 8 * RESULT_STRIDE) = (float2)(c[4 * j + 2], c[4 * j + 3]);
    }
}

/* The left operand by rows: those of a lane are 8 apart. */
#define COPY_ROWS(chunk, slot) {                                                                  \
    _Pragma("unroll") for (int v = 0; v < NUMBERS / 2; v++) {                                     \
        const int k = (chunk) * CHUNK + v / 2 * 16;                                               \
        copy_vector(place + ((slot) * (NUMBERS / 2) + v) * (4 * TENSOR_ITEMS), left[v % 2] + k, k + 4 * member < inputs); \
    }                                                                                             \
}
#define READ_ROWS(slot, a, rest) {                                                                \
    float x[2 * NUMBERS];                                                                         \
    _Pragma("unroll") for (int v = 0; v < NUMBERS / 2; v++) {                                     \
        const float4 y = *(local float4 *)(place + ((slot) * (NUMBERS / 2) + v) * (4 * TENSOR_ITEMS)); \
        _Pragma("unroll") for (int q = 0; q < 4; q++) x[v % 2 * NUMBERS + v / 2 * 4 + q] = LANE(y, q); \
    }                                                                                             \
    as_fragments(x, a, rest);                                                                     \
}
#define DEFINE_TENSOR_ROWS(NAME, OPERAND, FINISH)                                                 \
LARGE_KERNEL NAME(STEP_ARGUMENTS, int first_stage, int end_stage) {                               \
    BEGIN_PRODUCT                                                                                 \
    TILE_OF_ROWS                                                                                  \
    const int inputs = stage->inputs, group = ITEM % 32 / 4, member = ITEM % 4;                   \
    BEGIN_RING((inputs + CHUNK - 1) / CHUNK, 0, (inputs + CHUNK - 1) / CHUNK)                     \
    local float *const place = left_slots + 4 * ITEM;                                             \
    const global float *left[2];                                                                  \
    _Pragma("unroll") for (int i = 0; i < 2; i++)                                                 \
        left[i] = input_row(step, stage, SMALLER(r0 + ITEM / 32 * 16 + group + 8 * i, step->rows - 1), inputs) + 4 * member; \
    SUM_CHUNKS_BY_WGMMA(COPY_ROWS, READ_ROWS)                                                     \
    const real bias = bias_of(step, stage, j0 + ITEM % (TENSOR_COLUMNS / 4) * 4);                 \
    FOR_LARGE_SUMS(OPERAND, FINISH)                                                               \
}

DEFINE_TENSOR_ROWS(tensor_forward, (void)y[u], finish_forward(step, stage, r, j, sum + bias))
DEFINE_TENSOR_ROWS(tensor_input, load_for_input(step, stage, r, j, y + u), finish_input(step, stage, r, j, sum, y + u))

/* The left operand of a gradient of weights has been packed, too: a lane's numbers of a chunk are two vectors. */
#define COPY_PACKED(chunk, slot) {                                                                \
    _Pragma("unroll") for (int v = 0; v < 2; v++)                                                 \
        copy_vector(place + ((slot) * 2 + v) * (4 * TENSOR_ITEMS), left + (size_t)(chunk) * ENTRY + 128 * v, true); \
}
#define READ_PACKED(slot, a, rest) {                                                              \
    _Pragma("unroll") for (int v = 0; v < 2; v++) {                                               \
        const uint4 y = *(local uint4 *)(place + ((slot) * 2 + v) * (4 * TENSOR_ITEMS));          \
        _Pragma("unroll") for (int q = 0; q < 4; q++) PUT_WORD(LANE(y, q), (a)[q / 2][q % 2 * 2 + v], (rest)[q / 2][q % 2 * 2 + v]) \
    }                                                                                             \
}
#if PASSES == 3
#define PUT_WORD(word, large, rest) SPLIT(word, large, rest)
#else
#define PUT_WORD(word, large, rest) large = word;
#endif
/* The gradients of few weights are made in the same launch. */
LARGE_KERNEL tensor_weights(STEP_ARGUMENTS, int first_stage, int end_stage) {
    BEGIN_PRODUCT
    if (stage->size == OF_WARPS) {
        narrow_weights(step, stage, tile, scratch);
        return;
    }
    TILE_OF_WEIGHTS
    const int end = SMALLER(stage->rows_end, step->rows), first_chunk = stage->rows_begin / CHUNK;
    const int all_chunks = (runs->batch_size + CHUNK - 1) / CHUNK;
    BEGIN_RING(all_chunks, first_chunk, stage->rows_begin < end ? (end + CHUNK - 1) / CHUNK - first_chunk : 0)
    local float *const place = left_slots + 4 * ITEM;
    const global float *left = step->workspace + stage->packed_left
                               + ((size_t)(r0 / TENSOR_ROWS) * all_chunks + first_chunk) * ENTRY + ITEM / 32 * 256 + ITEM % 32 * 4;
    SUM_CHUNKS_BY_WGMMA(COPY_PACKED, READ_PACKED)
    FOR_LARGE_SUMS((void)y[u], store_gradient(step, stage, r, j, sum))
}
