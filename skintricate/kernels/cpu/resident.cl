/* Many steps, whole epochs of them, in one launch: nothing is launched, set or waited for by the host between steps.
 *
 * A step is a list of *phases*; what is in one phase is independent. A phase's work is cut into tickets, which lie in
 * as many queues as there are work-groups. A group draws all of its own queue, then waits for the end of the phase.
 * What it wrote in one phase it reads in the next, so data stays in its core's cache; only from a queue that lags far
 * behind, or does not move, does it take tickets away. So a group waits for tickets that somebody has drawn already,
 * and never for a group that has not begun: a launch ends on any number of groups, also when the device runs them one
 * after another. Which group does a ticket changes no result.
 *
 * phases: [0, step_begin) open an epoch, [step_begin, epoch_end) make a step, [epoch_end, phase_count) close an epoch.
 * The launch's offset is the first step; steps count from the run's beginning, epochs from training's.
 */

/* skintricate/kernels/stage.py writes these rows. */
typedef struct {
    int kind;   /* BLOCKS: a tile is a block of rows that goes through all stages; TILES: tiles of independent stages */
    int first;  /* stages [first, end) */
    int end;
    int tiles;
    int chunk;  /* tiles a ticket */
    int validation; /* batch of the validation rows it works on, or -1 */
} Phase;

/* Counters lie LINE integers apart: of finished tickets, then of drawn ones for each queue. */

/* Draw a ticket below `end`, the first of this phase being `begin`; -1 where none is left. */
static inline int draw_ticket(volatile global int *drawn, int begin, int end) {
    for (;;) {
        const int count = *drawn, ticket = LARGER(count, begin);
        if (ticket >= end) return -1;
        if (atomic_cmpxchg(drawn, count, ticket + 1) == count) return ticket;
    }
}

/* How often a waiting group looks for the end of the phase before it looks at a queue, and before it takes what is left. */
#define LOOKS 256
#define LONG_WAIT (64 * LOOKS)

/* Tickets to leave in another group's queue: none if nobody has touched it or the wait is long, else a quarter. */
static inline int tickets_to_leave(volatile global const int *drawn, int begin, int share, uint looks) {
    return *drawn <= begin || looks >= LONG_WAIT ? 0 : share / 4;
}

/* Tiles [tile, tile_end) of stages that follow each other. */
static inline void run_tiles(const Step *step, const global Stage *stages, const global Phase *phase, int tile,
                             int tile_end) {
    int stage = phase->first;
    for (int before = 0; tile < tile_end; tile++) {
        for (; tile - before >= stages[stage].tiles; stage++) before += stages[stage].tiles;
        run_tile(step, stages + stage, tile - before);
    }
}

/* The ticket's tiles of a phase, in step `epoch_step` of the epoch at `slot` of the history. */
static inline void run_ticket(STEP_ARGUMENTS, const global Phase *phase, int ticket, int epoch_step, int slot,
                              int epoch, int capacity) {
    const int tile = ticket * phase->chunk, tile_end = SMALLER(tile + phase->chunk, phase->tiles);
    const int batch = phase->validation;
    /* Made here, since the step's weight is known only after the phase that weighs the steps. */
    const Step made = batch >= 0 ? make_step(parameters, workspace, X, Y, sample_weight, order, scalars, constants,
                                             losses, history, control, run + 1, stages, batch, batch)
                                 : make_step(STEP_NAMES, slot * run->steps + epoch_step, epoch_step);
    const Step *step = &made;
    switch (phase->kind) {
    case BLOCKS:
        for (int block = tile; block < tile_end; block++) row_block(step, stages, phase->first, phase->end, block);
        break;
    case TILES: run_tiles(step, stages, phase, tile, tile_end); break;
    case ORDER:
        for (int row = tile; row < tile_end; row++) order_row(run, order, row, epoch);
        break;
    case WEIGH:
        for (int s = tile; s < tile_end; s++) weigh_step(run, sample_weight, order, losses, s);
        break;
    case SCORE: reduce_score(run, run + 1, losses, history, control, slot, capacity); break;
    case BEST:
        for (int t = tile; t < tile_end; t++) keep_best(run, parameters, control, t);
        break;
    case FINISH: reduce_epoch(run, constants, losses, history, control, slot, capacity); break;
    }
}

KERNEL resident(STEP_ARGUMENTS, const global Phase *phases, volatile global int *tickets, int step_begin, int epoch_end,
                int phase_count, int capacity, int first_epoch, int steps) {
    const int first = get_global_id(1), group = get_group_id(0), groups = get_num_groups(0);
    int finished = 0, drawn = 0, slot = first / run->steps, epoch_step = first % run->steps;
    for (int s = 0; s < steps; s++, epoch_step++) {
        if (epoch_step == run->steps) {
            epoch_step = 0;
            slot++;
        }
        const int phase_end = epoch_step == run->steps - 1 ? phase_count : epoch_end;
        for (int p = epoch_step == 0 ? 0 : step_begin; p < phase_end; p++) {
            const global Phase *phase = phases + p;
            const int count = (phase->tiles + phase->chunk - 1) / phase->chunk, share = (count + groups - 1) / groups;
            if (*(volatile global const int *)control) return;
            if (groups == 1) {
                for (int ticket = 0; ticket < count; ticket++)
                    run_ticket(STEP_NAMES, phase, ticket, epoch_step, slot, first_epoch + slot, capacity);
                continue;
            }
            finished += count;
            int queue = group;
            for (uint looks = 0;; looks++) {
                if (looks == 0 || (looks % LOOKS == 0 && (queue = (queue + 1) % groups) != group)) {
                    const int begin = queue * share, end = drawn + SMALLER(share, count - begin);
                    volatile global int *counter = tickets + LINE * (2 + queue);
                    const int left = queue == group ? 0 : tickets_to_leave(counter, drawn, share, looks);
                    int ticket, done = 0;
                    while ((ticket = draw_ticket(counter, drawn, end - left)) >= 0) {
                        run_ticket(STEP_NAMES, phase, begin + ticket - drawn, epoch_step, slot, first_epoch + slot,
                                   capacity);
                        done++;
                    }
                    if (done > 0) {
                        mem_fence(CLK_GLOBAL_MEM_FENCE);
                        atomic_add(tickets + LINE, done);
                    }
                }
                if (*(tickets + LINE) >= finished) break;
            }
            /* Reads stay behind the end of the phase. PoCL 3.0 makes nothing of mem_fence, but orders memory by atomic_add;
             * the group's own counter costs no traffic. */
            mem_fence(CLK_GLOBAL_MEM_FENCE);
            atomic_add(tickets + LINE * (2 + group), 0);
            drawn += share;
        }
    }
}
