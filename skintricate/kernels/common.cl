/* Types, layouts and the two structures that every stage reads.
 *
 * `scalar` is the model's float type, `real` a vector of WIDTH of them: the unit of all arithmetic.
 *
 * Matrices on the device lie in *column panels* of PANEL columns: all rows of the first PANEL columns,
 * then all rows of the next. The last panel is as wide as its columns, rounded up to WIDTH; the
 * columns added are zero in weights and gradients. A tile walks down a panel, so its loads are contiguous. Only X, Y and
 * sample_weight keep the row-major layout of the host.
 *
 * One letter a dimension, always the same: N samples, I inputs, O outputs.
 *
 * Tunables: SCALAR (float, double) with MASK, the integer of its size; WIDTH lanes a vector; ROWS x COLUMNS vectors
 * a tile; LOCAL_SIZE work-items a group; MULTIPLY_ADD(a, b, c).
 */
#ifndef SCALAR
#define SCALAR float
#endif
#ifndef MASK
#define MASK int
#endif
#ifndef WIDTH
#define WIDTH 8
#endif
#ifndef ROWS
#define ROWS 8
#endif
#ifndef COLUMNS
#define COLUMNS 3
#endif
#ifndef MULTIPLY_ADD
#define MULTIPLY_ADD(a, b, c) ((c) + (a) * (b))
#endif
#define PANEL (COLUMNS * WIDTH)
/* Work-items of a group. Where it is one, Intel's compiler must not also build versions that run work-items in
 * vector lanes: they took nine tenths of the build and are never used. */
#ifndef LOCAL_SIZE
#define LOCAL_SIZE 1
#endif
#if LOCAL_SIZE == 1 && defined(cl_intel_vec_len_hint)
#define KERNEL kernel __attribute__((intel_vec_len_hint(1))) __attribute__((reqd_work_group_size(1, 1, 1))) void
#else
#define KERNEL kernel __attribute__((reqd_work_group_size(LOCAL_SIZE, 1, 1))) void
#endif
/* A function of one tile. Compiled once and called on a CPU; a GPU inlines everything. */
#if LOCAL_SIZE == 1
#define TILE_FUNCTION static __attribute__((noinline)) void
#else
#define TILE_FUNCTION static inline void
#endif

/* The larger and the smaller of two numbers, lane by lane; PoCL 3.0 makes calls of min, max and fmax. */
#define LARGER(a, b) ((a) > (b) ? (a) : (b))
#define SMALLER(a, b) ((a) < (b) ? (a) : (b))

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

typedef SCALAR scalar;
typedef JOIN(SCALAR, WIDTH) real;
typedef JOIN(MASK, WIDTH) mask;

#if WIDTH == 16
#define LANES ((mask)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#elif WIDTH == 8
#define LANES ((mask)(0, 1, 2, 3, 4, 5, 6, 7))
#elif WIDTH == 4
#define LANES ((mask)(0, 1, 2, 3))
#else
#define LANES ((mask)(0, 1))
#endif

/* One stage of a step; skintricate/kernels/stage.py writes these rows. Offsets count scalars. */
typedef struct {
    int kind;           /* which kernel, see rows.cl */
    int tiles;          /* how many tiles the stage has */
    int inputs;         /* I: columns of the left operand */
    int outputs;        /* O: columns of the result */
    int source;         /* left operand in the workspace, or -1: X */
    int target;         /* result in the workspace */
    int value;          /* values of a tensor, for a derivative */
    int saved;          /* its pre-activations, or -1 */
    int gradient;       /* gradient in the workspace */
    int weights;        /* in the parameters, (I + 1) rows with the bias as the last, or I rows */
    int bias;           /* 1: the weights have a bias row */
    int transposed;     /* transpose of the weights in the parameters, or -1 */
    int code;           /* activation, loss or optimizer of the program */
    int constants;      /* hyper-parameters of that code */
    int activation;     /* activation that made the values a loss is taken of */
    int activation_constants;
    int rows_begin;     /* rows of the batch that a gradient of weights sums over */
    int rows_end;
    int parts;          /* how many such sums are added up, from `source`, and from one to the next */
    int part_stride;
    int losses;         /* column of the partial losses that this stage writes first, or -1 */
    int id;             /* distinguishes random streams */
} Stage;

/* What stays the same during a run of steps; a second one tells the same of the validation rows. */
typedef struct {
    int first_row;          /* of this run in X, Y and sample_weight: validation rows follow those of training */
    int samples;            /* rows of X in this run */
    int batch_size;         /* rows of a step; also the rows of every tensor in the workspace */
    int steps;              /* steps of one epoch */
    int target_columns;     /* columns of Y; 1 with class_codes */
    int class_codes;        /* 1: Y holds the index of the class */
    int ordered;            /* 1: rows are taken in the order of `order` */
    int weighted;           /* 1: sample_weight is given */
    int partials;           /* partial losses of one step */
    int first_loss;         /* where they begin in `losses` */
    int parameter_count;    /* scalars from one optimizer state to the next */
    int scalar_count;       /* scalars of one step in `scalars` */
    int shuffle_side;       /* side of the square that holds a sample's index */
    int patience;           /* epochs without improvement that end training, or 0 */
    int early_stopping;     /* 1: improvement is that of the validation score */
    int best;               /* where the weights of the best score are kept in the parameters */
    int halting;            /* instructions of the halting condition in the constants, see epoch.cl */
    int halting_count;
    uint seed;
    int first_step;         /* steps trained before this run */
} Run;

#define STEP_ARGUMENTS                                                                            \
    global scalar *parameters, global scalar *workspace, global const scalar *X,                  \
    global const scalar *Y, global const scalar *sample_weight, global int *order,                \
    global const scalar *scalars, global const scalar *constants, global scalar *losses,          \
    global scalar *history, global int *control, global const Run *run, global const Stage *stages

#define STEP_NAMES                                                                                \
    parameters, workspace, X, Y, sample_weight, order, scalars, constants, losses, history, control, run, stages

/* The arguments of one step, bundled. */
typedef struct {
    global scalar *parameters;
    global scalar *workspace;
    global const scalar *X;
    global const scalar *Y;
    global const scalar *sample_weight;
    global const int *order;
    global const scalar *scalars;       /* the optimizer's, of this step */
    global const scalar *constants;
    global scalar *losses;              /* partial losses of this step */
    global const Run *run;
    int number;                         /* of this step since training began */
    int first;                          /* position of its first row */
    int rows;                           /* N: the rows of this step */
    scalar weight;                      /* sum of its sample weights */
} Step;

/* The step of this number in its run and of that in its epoch. */
static inline Step make_step(STEP_ARGUMENTS, int number, int epoch_step) {
    Step step;
    step.parameters = parameters;
    step.workspace = workspace;
    step.X = X;
    step.Y = Y;
    step.sample_weight = sample_weight;
    step.order = order;
    step.scalars = scalars + (size_t)number * run->scalar_count;
    step.constants = constants;
    step.losses = losses + run->first_loss + (size_t)epoch_step * (run->partials + 1) + 1;
    step.run = run;
    step.number = run->first_step + number;
    step.first = run->first_row + epoch_step * run->batch_size;
    step.rows = SMALLER(run->batch_size, run->samples - epoch_step * run->batch_size);
    step.weight = run->weighted ? step.losses[-1] : (scalar)step.rows;
    return step;
}

/* The number of a step in its run travels as the launch's global offset, so that no argument changes. */
#define BEGIN_STEP                                                                                \
    if (control[0]) return;                                                                       \
    const Step step = make_step(STEP_NAMES, get_global_id(1), get_global_id(1) % run->steps)

/* A kernel of one stage, a tile a work-item. */
#define TILE_KERNEL(NAME)                                                                         \
KERNEL NAME(STEP_ARGUMENTS, int stage) {                                                     \
    BEGIN_STEP;                                                                                   \
    const int tile = get_global_id(0);                                                            \
    if (tile < stages[stage].tiles) NAME##_tile(&step, stages + stage, tile);                     \
}

/* A vector at any scalar's address. PoCL 3.0 makes vload a call, which costs every register. */
typedef real unaligned_real __attribute__((aligned(sizeof(scalar))));
static inline real load(const global scalar *p) { return *(const global unaligned_real *)p; }
static inline void store(real x, global scalar *p) { *(global unaligned_real *)p = x; }
static inline real load_private(const scalar *p) { return *(const unaligned_real *)p; }
static inline void store_private(real x, scalar *p) { *(unaligned_real *)p = x; }

/* Columns of the panel that holds `column`, padding included. */
static inline int panel_width(int column, int columns) {
    const int begin = column / PANEL * PANEL;
    return SMALLER(PANEL, (columns - begin + WIDTH - 1) / WIDTH * WIDTH);
}

/* Where element (row, column) of a matrix in panels of `rows` rows lies. */
static inline size_t panel_index(int row, int column, int rows, int columns) {
    const int begin = column / PANEL * PANEL;
    return (size_t)begin * rows + (size_t)row * panel_width(column, columns) + (column - begin);
}

/* Where vector j (of WIDTH columns) of a row begins in a tensor of `columns` columns. */
static inline size_t row_vector(int row, int j, int batch, int columns) {
    return panel_index(row, j * WIDTH, batch, columns);
}

/* The row of X that is row n of the step. */
static inline size_t sample_row(const Step *step, int n) {
    return step->run->ordered ? step->order[step->first + n] : step->first + n;
}

/* The vector with zeros in the lanes past the last of `columns`: a derivative may be infinite there. */
static inline real without_padding(real x, int columns) {
    return columns < WIDTH ? (LANES < columns ? x : (real)0) : x;
}

/* A tile: `rows` rows of `vectors` vectors. In a panel it is contiguous. */
static inline void load_tile(real *tile, int count, const global scalar *p) {
    for (int i = 0; i < count; i++) tile[i] = load(p + i * WIDTH);
}
static inline void store_tile(const real *tile, int count, global scalar *p) {
    for (int i = 0; i < count; i++) store(tile[i], p + i * WIDTH);
}

/* Zeros past the last of `columns` in every row: only the last vector has any. */
static inline void clear_padding(real *tile, int rows, int vectors, int columns) {
    if (columns < vectors * WIDTH)
        for (int r = 0; r < rows; r++)
            tile[(r + 1) * vectors - 1] = without_padding(tile[(r + 1) * vectors - 1], columns - (vectors - 1) * WIDTH);
}

/* Sum of the lanes, in a fixed order. */
static inline scalar lane_sum(real x) {
#if WIDTH == 16
    const JOIN(SCALAR, 8) a = x.lo + x.hi;
    const JOIN(SCALAR, 4) b = a.lo + a.hi;
#elif WIDTH == 8
    const JOIN(SCALAR, 4) b = x.lo + x.hi;
#elif WIDTH == 4
    const JOIN(SCALAR, 4) b = x;
#endif
#if WIDTH == 2
    return x.x + x.y;
#else
    return (b.x + b.z) + (b.y + b.w);
#endif
}

static inline scalar lane_max(real x) {
#if WIDTH == 16
    const JOIN(SCALAR, 8) a = LARGER(x.lo, x.hi);
    const JOIN(SCALAR, 4) b = LARGER(a.lo, a.hi);
#elif WIDTH == 8
    const JOIN(SCALAR, 4) b = LARGER(x.lo, x.hi);
#elif WIDTH == 4
    const JOIN(SCALAR, 4) b = x;
#endif
#if WIDTH == 2
    return LARGER(x.x, x.y);
#else
    const JOIN(SCALAR, 2) c = LARGER(b.lo, b.hi);
    return LARGER(c.x, c.y);
#endif
}
