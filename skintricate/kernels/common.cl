/* Types, layouts and the two structures that every stage reads.
 *
 * `scalar` is the model's float type, `real` a vector of WIDTH of them: the unit of all arithmetic.
 *
 * Matrices on the device lie in *column panels* of PANEL columns: all rows of the first PANEL columns,
 * then all rows of the next; a GPU's panel is wider than any matrix, which so lies by rows. The last panel is as wide
 * as its columns, rounded up to WIDTH; the columns added are zero in weights and gradients. A tile walks down a panel,
 * so its loads are contiguous. Only X, Y and sample_weight keep the row-major layout of the host, X padded on a GPU.
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
/* Work-items of a group. Intel's compiler must not build versions that run work-items in vector lanes: where groups are
 * one item they are never used and took nine tenths of the build, where they are many it makes errors. */
#ifndef LOCAL_SIZE
#define LOCAL_SIZE 1
#endif
/* Bytes at whose multiples vectors lie in memory. */
#ifndef ALIGNMENT
#define ALIGNMENT sizeof(scalar)
#endif
/* Where functions find Run and Stage: a GPU's groups copy them to local memory. */
#ifndef TABLE
#define TABLE global
#endif
#ifdef cl_intel_vec_len_hint
#define KERNEL kernel __attribute__((intel_vec_len_hint(1))) __attribute__((reqd_work_group_size(LOCAL_SIZE, 1, 1))) void
#else
#define KERNEL kernel __attribute__((reqd_work_group_size(LOCAL_SIZE, 1, 1))) void
#endif
/* Where a step's Run lies: in a program of one plan (SPECIALIZED) each item has one of its own, of which some is known. */
#ifdef SPECIALIZED
#define RUN private
#else
#define RUN TABLE
#endif
/* Never called; and compiled once and called. */
#define INLINED static inline __attribute__((always_inline))
#ifdef INLINE
#define FUNCTION INLINED
#else
#define FUNCTION static __attribute__((noinline))
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
    int size;           /* side of a tile that a work-group makes; 0: a block of rows; OF_WARPS: see gpu/warp.cl */
    int log_lanes;      /* in a block: 2^log_lanes work-items share a row, */
    int log_slices;     /* and 2^log_slices of those share its sums; or warps share a tile of weights, one or two */
    int code;           /* activation, loss or optimizer of the program */
    int constants;      /* hyper-parameters of that code */
    int activation;     /* activation that made the values a loss is taken of */
    int activation_constants;
    int rows_begin;     /* rows of the batch that a gradient of weights sums over */
    int rows_end;
    int parts;          /* how many such sums are stored, from `source` or `target`, by this stage or by as many; 0: the
                         * sum ends in the update */
    int part_stride;    /* from one of them to the next */
    int losses;         /* column of the partial losses that this stage writes first, or -1 */
    int id;             /* distinguishes random streams */
    int pixels;         /* of the result: every sample has so many of its rows */
    int channels;       /* of the weights: rows that one pixel of a window has; all where there is no window */
    int window;         /* a Window in the constants, see places.cl, or -1 */
    int sums;           /* where blocks or tiles keep what is their own, such as sums, in the workspace */
    int packed;         /* right operand of a product as the tensor cores read it, in the workspace, */
    int packed_left;    /* and the left one of a gradient of weights; see gpu/wgmma.cl */
} Stage;

/* What stays the same during a run of steps; a second one tells the same of the validation rows. */
typedef struct {
    int first_row;          /* of this run in X, Y and sample_weight: validation rows follow those of training */
    int samples;            /* rows of X in this run */
    int batch_size;         /* rows of a step on this device; also the rows of every tensor in the workspace */
    int step_rows;          /* rows of a step: more where several devices share it, */
    int share_begin;        /* and which of them is the first here */
    int steps;              /* steps of one epoch */
    int target_columns;     /* columns of Y; 1 with class_codes */
    int class_codes;        /* 1: Y holds the index of the class */
    int ordered;            /* 1: rows are taken in the order of `order` */
    int x_order;            /* where `order` has the rows of X, which may be shared with others, or 0: as the others */
    int x_rows;             /* where `order` has the row of X of every sample before they are put in order */
    int x_starts;           /* of a sparse X: where `order` has the first entry of each row, */
    int x_columns;          /* and the columns of all entries */
    int weighted;           /* 1: sample_weight is given */
    int block_rows;         /* rows that a work-group takes through several stages */
    int stage_count;        /* stages of the plan */
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

/* The buffers of a step, and all that kernels take for it. */
#define BUFFER_ARGUMENTS                                                                          \
    global scalar *parameters, global scalar *workspace, global const scalar *X,                  \
    global const scalar *Y, global const scalar *sample_weight, global int *order,                \
    global const scalar *scalars, global const scalar *constants, global scalar *losses,          \
    global scalar *history, global int *control
#define BUFFERS parameters, workspace, X, Y, sample_weight, order, scalars, constants, losses, history, control
#define STEP_ARGUMENTS BUFFER_ARGUMENTS, global const Run *run, global const Stage *stages
#define STEP_NAMES BUFFERS, run, stages

/* The arguments of one step, bundled. */
typedef struct {
    global scalar *parameters;
    global scalar *workspace;
    global const scalar *X;
    global const scalar *Y;
    global const scalar *sample_weight;
    global const int *order;
    global const int *x_order;          /* the same for X, where its rows are not those of Y */
    global const scalar *scalars;       /* the optimizer's, of this step */
    global const scalar *constants;
    global scalar *losses;              /* partial losses of this step */
    RUN const Run *run;
    int number;                         /* of this step since training began */
    int first;                          /* position of its first row */
    int rows;                           /* N: the rows of this step on this device */
    scalar weight;                      /* sum of the step's sample weights, on all devices */
} Step;

/* The step of this number in its run and of that in its epoch. */
static inline Step make_step(BUFFER_ARGUMENTS, RUN const Run *run, int number, int epoch_step) {
    Step step;
    step.parameters = parameters;
    step.workspace = workspace;
    step.X = X;
    step.Y = Y;
    step.sample_weight = sample_weight;
    step.order = order;
    step.x_order = order + run->x_order;
    step.scalars = scalars + (size_t)number * run->scalar_count;
    step.constants = constants;
    step.losses = losses + run->first_loss + (size_t)epoch_step * (run->partials + 1) + 1;
    step.run = run;
    step.number = run->first_step + number;
    const int rows = SMALLER(run->step_rows, run->samples - epoch_step * run->step_rows);
    step.first = run->first_row + epoch_step * run->step_rows + run->share_begin;
    step.rows = SMALLER(run->batch_size, rows > run->share_begin ? rows - run->share_begin : 0);
    step.weight = run->weighted ? step.losses[-1] : (scalar)rows;
    return step;
}

/* A vector in memory. PoCL 3.0 makes vload a call, which costs every register. */
typedef real unaligned_real __attribute__((aligned(sizeof(scalar))));
typedef real stored_real __attribute__((aligned(ALIGNMENT)));
static inline real load(const global scalar *p) { return *(const global stored_real *)p; }
static inline void store(real x, global scalar *p) { *(global stored_real *)p = x; }
static inline real load_private(const scalar *p) { return *(const unaligned_real *)p; }
static inline void store_private(real x, scalar *p) { *(unaligned_real *)p = x; }

/* Values that a derivative needs: a CPU's functions take tiles of them where they lie, a GPU's a vector. */
#if LOCAL_SIZE == 1
#define VALUES const global scalar *
static inline real load_value(VALUES p, int i) { return load(p + i * WIDTH); }
#else
#define VALUES const real *
static inline real load_value(VALUES p, int i) { return p[i]; }
#endif

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

/* The vector with zeros in the lanes past the last of `columns`: a derivative may be infinite there. */
static inline real without_padding(real x, int columns) {
    return columns < WIDTH ? (LANES < columns ? x : (real)0) : x;
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
