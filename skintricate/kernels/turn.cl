/* What a launch of resident.cl does: *turns*, each so many steps of one network. Networks that are trained together lie
 * one after another in the same buffers. A step is a list of *phases*; what is in one phase is independent.
 *
 * phases: [0, step_begin) open an epoch, [step_begin, epoch_end) make a step, [epoch_end, phase_count) close an epoch.
 */

/* skintricate/training/phases.py writes the rows of these, whose types are in stage.py. */
typedef struct {
    int kind;       /* BLOCKS: a tile is a block of rows that goes through all stages; TILES: tiles of independent stages */
    int first;      /* stages [first, end) */
    int end;
    int tiles;
    int chunk;      /* tiles a ticket, on a CPU */
    int validation; /* batch of the validation rows it works on, or -1 */
} Phase;

typedef struct {
    long parameters, workspace, X, Y, sample_weight, order, scalars, constants, losses, history, control, run, stages;
    long phases;    /* where the network's part of each buffer begins */
    int step_begin;
    int epoch_end;
    int phase_count;
    int capacity;   /* epochs that its history holds */
    int first_epoch; /* epochs trained before the history's first */
    int first_step; /* the turn's first, counted from the history's first epoch */
    int steps;
    int after;      /* the turn that must have ended before, or -1 */
} Turn;

#define GO_TO_TURN(turn)                                                                          \
    parameters += (turn)->parameters; workspace += (turn)->workspace; X += (turn)->X; Y += (turn)->Y; \
    sample_weight += (turn)->sample_weight; order += (turn)->order; scalars += (turn)->scalars;   \
    constants += (turn)->constants; losses += (turn)->losses; history += (turn)->history;         \
    control += (turn)->control; run += (turn)->run; stages += (turn)->stages; phases += (turn)->phases
