/* Work-groups of ITEMS work-items that make a tile together.
 *
 * Matrices lie by rows, padded to whole vectors with zeros: a panel is wider than any of them. X is padded too.
 * `scratch` is SCRATCH scalars of local memory; whoever uses it leaves no reader behind: a function that has read
 * scratch ends with a barrier.
 */
#define ITEMS LOCAL_SIZE
#define ITEM ((int)get_local_id(0))
#define SYNC_LOCAL barrier(CLK_LOCAL_MEM_FENCE)
#define SYNC barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)
/* Rows that a narrow product takes at once, which are those of a block but where batches have many. Scratch holds what it
 * keeps, a chunk of them and a sum for every work-item and row, and the ring of a wide product, which is a vector a work-item
 * more. */
#define ROWS_AT_ONCE 8
#define CHUNK_SCALARS (ITEMS * WIDTH)
/* Where products are warps', only sums and what warps exchange need it, and blocks have more rows. A whole network takes a
 * vector for each item, since what groups leave is cache. */
#if defined(WHOLE_NETWORK)
#define MOST_LOSS_ROWS ITEMS
#define SCRATCH (WIDTH * ITEMS)
#elif defined(LARGE_BATCH)
#define MOST_LOSS_ROWS 64
#define SCRATCH (4 * WIDTH * ITEMS)
#else
#ifdef MANY_ROWS
#define MOST_LOSS_ROWS 64
#else
#define MOST_LOSS_ROWS ROWS_AT_ONCE
#endif
#define SCRATCH (CHUNK_SCALARS + ITEMS * (ROWS_AT_ONCE + 1) * WIDTH)
#endif

/* What functions take that a CPU and a GPU have in common. In a program of one network its stages are constants. */
#ifdef SPECIALIZED
#define STEP const Step *
#define STAGE constant Stage *
#else
#define STEP local const Step *
#define STAGE local const Stage *
#endif
#define ROW_ARGUMENTS STEP step, STAGE stage, int block, int n0, int count, local scalar *scratch
#define X_COLUMNS(columns) padded(columns)
#define load_anywhere(p) JOIN(vload, WIDTH)(0, p)

/* Run STATEMENT for each vector j of rows n, `count` of them; and of the pixels n of so many samples, at (y, x) of
 * sample `sample`, after AT_ROW and AT_PIXEL. */
#define FOR_ROWS_AND_VECTORS(first, count, columns, STATEMENT)                                    \
    for (int v = ITEM; v < (count) * vectors_of(columns); v += ITEMS) {                           \
        const int n = (first) + v / vectors_of(columns);                                          \
        const int j = v % vectors_of(columns);                                                    \
        STATEMENT;                                                                                \
    }
#define FOR_PIXELS_AND_VECTORS(first, count, height, width, columns, AT_ROW, AT_PIXEL, STATEMENT) \
    FOR_ROWS_AND_VECTORS((first) * ((height) * (width)), (count) * ((height) * (width)), columns, { \
        const int sample = n / ((height) * (width));                                              \
        const int y = n / (width) % (height);                                                     \
        const int x = n % (width);                                                                \
        AT_ROW;                                                                                   \
        AT_PIXEL;                                                                                 \
        STATEMENT;                                                                                \
    })

/* Lane q of a vector, q being constant. */
#if WIDTH == 4
#define LANE(x, q) ((q) == 0 ? (x).s0 : (q) == 1 ? (x).s1 : (q) == 2 ? (x).s2 : (x).s3)
#else
#define LANE(x, q) ((q) == 0 ? (x).s0 : (x).s1)
#endif

/* What a kernel begins with: its tables in local memory. */
#define BEGIN_TABLES                                                                              \
    local Run runs[2];                                                                            \
    local scalar scratch[SCRATCH] __attribute__((aligned(16)));                                   \
    COPY_TABLE(run, runs, 2)

/* Copy `count` rows of a table to local memory. */
#define COPY_TABLE(from, to, count)                                                               \
    copy_table((const global int *)(from), (local int *)(to), (count) * (int)(sizeof((to)[0]) / sizeof(int)))
static inline void copy_table(const global int *from, local int *to, int count) {
    for (int i = ITEM; i < count; i += ITEMS) to[i] = from[i];
}

static inline int padded(int columns) { return (columns + WIDTH - 1) / WIDTH * WIDTH; }

/* The smallest power of two that is not less than n, at most `most`, by its logarithm. */
static inline int log_of(int n, int most) {
    int log = 0;
    while (1 << log < n && 1 << log < most) log++;
    return log;
}

/* The row of Y and sample_weight that is row n of the step, and that of X. */
static inline size_t sample_row(STEP step, int n) {
    return step->run->ordered ? step->order[step->first + n] : step->first + n;
}
static inline size_t x_row(STEP step, int n) {
    return step->run->ordered ? step->x_order[step->first + n] : step->first + n;
}

/* Copies from global to local memory that go on while a work-item does other things: NVIDIA's, from compute capability
 * 8.0. What is not inside becomes zero. */
#ifdef ASYNCHRONOUS_COPY
static inline uint local_address(const local void *p) { return (uint)(size_t)p; }
static inline void copy_vector(local scalar *to, const global scalar *from, bool inside) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(local_address(to)), "l"(from), "r"(inside ? 16 : 0) : "memory");
}
static inline void copy_scalar(local scalar *to, const global scalar *from, bool inside) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                 :: "r"(local_address(to)), "l"(from), "n"(sizeof(scalar)), "r"(inside ? (int)sizeof(scalar) : 0) : "memory");
}
static inline void end_copies(void) { asm volatile("cp.async.commit_group;" ::: "memory"); }
/* Wait until at most so many of the latest groups of copies are on their way; so many is a constant. */
#define wait_copies(count) asm volatile("cp.async.wait_group %0;" :: "n"(count) : "memory")
#endif

/* Row n of a stage's input, of so many columns: of X or of a tensor. */
static inline const global scalar *input_row(STEP step, STAGE stage, int n, int columns) {
    return stage->source < 0 ? step->X + x_row(step, n) * padded(columns)
                             : step->workspace + stage->source + (size_t)n * padded(columns);
}

/* Sum, and largest, over 2^log neighbouring work-items, in a fixed order; all of them get it. */
#define DEFINE_OVER_LANES(NAME, COMBINED)                                                         \
static inline scalar NAME(scalar x, int log, local scalar *scratch) {                             \
    for (int level = 0; level < log; level++) {                                                   \
        local scalar *side = scratch + (level & 1) * ITEMS;                                       \
        side[ITEM] = x;                                                                           \
        SYNC_LOCAL;                                                                               \
        const scalar other = side[ITEM ^ (1 << level)];                                           \
        x = COMBINED;                                                                             \
    }                                                                                             \
    if (log > 0) SYNC_LOCAL;                                                                      \
    return x;                                                                                     \
}
DEFINE_OVER_LANES(sum_over_lanes, x + other)
DEFINE_OVER_LANES(largest_over_lanes, LARGER(x, other))

static inline scalar sum_over_group(scalar x, int items, local scalar *scratch) {
    return sum_over_lanes(x, log_of(items, ITEMS), scratch);
}

/* The sum over the slices of a column of vectors, which so many lanes of items have; see FOR_COLUMNS of places.cl. */
static inline real sum_slices(real x, int lanes, int slices, local scalar *scratch) {
    local real *sums = (local real *)scratch;
    if (slices == 1) return x;
    sums[ITEM] = x;
    SYNC_LOCAL;
    real total = sums[ITEM % lanes];
    for (int slice = 1; slice < slices; slice++) total += sums[ITEM % lanes + slice * lanes];
    SYNC_LOCAL;
    return total;
}

/* What a derivative needs at one place of a tensor: values, and the input of the activation that made them. */
typedef struct {
    real before, value;
} Activated;

static inline void load_activated(STEP step, STAGE stage, size_t at, Activated *a) {
    a->value = load(step->workspace + stage->value + at);
    a->before = stage->saved >= 0 ? load(step->workspace + stage->saved + at) : a->value;
}

/* Expressions of the vocabulary, of one vector; called, so that a kernel holds them once. */
FUNCTION real activated(int code, real x, const global scalar *constants) {
    activation_value(code, 1, &x, constants);
    return x;
}
FUNCTION real through_derivative(int code, real gradient, real x, real y, const global scalar *constants) {
    activation_derivative(code, 1, &gradient, &x, &y, constants);
    return gradient;
}
static inline real through_derivative_of(STEP step, STAGE stage, real gradient, real value) {
    return through_derivative(stage->activation, gradient, value, value, step->constants + stage->activation_constants);
}
FUNCTION real updated(int code, real gradient, global scalar *weights, int stride, const global scalar *scalars) {
    optimizer_update(code, 1, &gradient, weights, stride, scalars);
    return gradient;
}
FUNCTION real loss_of(int code, real y, real t, const global scalar *constants) {
    return loss_value(code, y, t, constants);
}
FUNCTION real loss_derivative(int code, real y, real t, const global scalar *constants) {
    return loss_gradient(code, y, t, constants);
}
