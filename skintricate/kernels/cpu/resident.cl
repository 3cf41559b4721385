/* Many steps, whole epochs of them, in one launch: nothing is launched, set or waited for by the host between steps.
 *
 * One network is trained by all work-groups together, or each of many by one. Where several work at one, a phase's work
 * is cut into tickets, which lie in as many queues as there are work-groups. A group draws all of its own queue, then
 * waits for the end of the phase. What it wrote in one phase it reads in the next, so data stays in its core's cache;
 * only from a queue that lags far behind, or does not move, does it take tickets away. So a group waits for tickets that
 * somebody has drawn already, and never for a group that has not begun: a launch ends on any number of groups, also when
 * the device runs them one after another. Which group does a ticket changes no result.
 *
 * Steps count from the history's first epoch, epochs from training's beginning.
 */

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
    const Step made = batch >= 0 ? make_step(BUFFERS, run + 1, batch, batch)
                                 : make_step(BUFFERS, run, slot * run->steps + epoch_step, epoch_step);
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

/* Group `group` of so many does its part of a turn. */
static inline void run_turn(STEP_ARGUMENTS, const global Phase *phases, const global Turn *turn,
                            volatile global int *tickets, int group, int groups) {
    GO_TO_TURN(turn);
    const int capacity = turn->capacity;
    int finished = 0, drawn = 0, slot = turn->first_step / run->steps, epoch_step = turn->first_step % run->steps;
    for (int s = 0; s < turn->steps; s++, epoch_step++) {
        if (epoch_step == run->steps) {
            epoch_step = 0;
            slot++;
        }
        const int epoch = turn->first_epoch + slot;
        const int phase_end = epoch_step == run->steps - 1 ? turn->phase_count : turn->epoch_end;
        for (int p = epoch_step == 0 ? 0 : turn->step_begin; p < phase_end; p++) {
            const global Phase *phase = phases + p;
            const int count = (phase->tiles + phase->chunk - 1) / phase->chunk, share = (count + groups - 1) / groups;
            if (*(volatile global const int *)control) return;
            if (groups == 1) {
                for (int ticket = 0; ticket < count; ticket++)
                    run_ticket(STEP_NAMES, phase, ticket, epoch_step, slot, epoch, capacity);
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
                        run_ticket(STEP_NAMES, phase, begin + ticket - drawn, epoch_step, slot, epoch, capacity);
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

/* `groups` of 1: every group draws turns until none is left. More: all of them work at the only one.
 * tickets: counters, LINE integers apart, of drawn turns, of finished tickets, and of drawn ones for each queue; behind
 * them an integer a turn, whether it has ended.
 */
KERNEL resident(STEP_ARGUMENTS, const global Phase *phases, const global Turn *turns, volatile global int *tickets,
                int turn_count, int groups) {
    volatile global int *ended = tickets + LINE * (2 + groups);
    for (;;) {
        const int turn = groups > 1 ? 0 : atomic_add(tickets, 1);
        if (turn >= turn_count) return;
        /* It lies before this one, so a group that runs has drawn it. */
        if (turns[turn].after >= 0) {
            while (!ended[turns[turn].after]);
            mem_fence(CLK_GLOBAL_MEM_FENCE);
            atomic_add(ended + turn, 0);
        }
        run_turn(STEP_NAMES, phases, turns + turn, tickets, get_group_id(0), groups);
        if (groups > 1) return;
        mem_fence(CLK_GLOBAL_MEM_FENCE);
        atomic_xchg(ended + turn, 1);
    }
}
