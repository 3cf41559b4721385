/* Many steps, whole epochs of them, in one launch, by work-groups that wait for each other between phases.
 *
 * OpenCL does not promise that all groups of a launch run at once. So the groups first count those that do: who begins
 * takes a seat, the first of them closes the count when all are seated or after SEATING looks, and who comes later
 * leaves at once. Only seated groups share the work, tile t being that of seat t modulo their number, and only they
 * wait for each other. All of them run, so a launch ends with any number of groups, also when a device runs them
 * one after another, or shares its cores with other launches. Which group makes a tile changes no result.
 *
 * So many neighbouring groups work at each turn. seats: counters, LINE integers apart, three for each turn: seats
 * taken, seats that count, arrivals at barriers.
 */
#define SEATING 4096
#define CLOSED (1 << 30)

/* Count an arrival, and wait for so many of them: what was written before each is then seen. */
#if defined(__NV_CL_C_VERSION) && defined(ASYNCHRONOUS_COPY)
/* From compute capability 8.0, each in one instruction. */
static inline void arrive(volatile global int *count) {
    asm volatile("red.release.gpu.global.add.s32 [%0], 1;" :: "l"(count) : "memory");
}
static inline void wait_for_arrivals(volatile global int *count, int arrivals) {
    int arrived;
    do asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(arrived) : "l"(count) : "memory");
    while (arrived < arrivals);
}
#else
static inline void fence_device(void) {
#ifdef __NV_CL_C_VERSION
    asm volatile("membar.gl;" ::: "memory");
#else
    mem_fence(CLK_GLOBAL_MEM_FENCE); /* on a CPU caches do the rest */
#endif
}
static inline void arrive(volatile global int *count) {
    fence_device();
    atomic_add(count, 1);
}
static inline void wait_for_arrivals(volatile global int *count, int arrivals) {
    while (*count < arrivals);
    fence_device();
}
#endif

/* Take one of so many seats; returns its number, or -1 where the count is closed. For one work-item. */
static inline int take_seat(volatile global int *seats, int groups) {
    if (groups == 1) return seats[LINE] = 1, 0;
    const int seat = atomic_add(seats, 1);
    if (seat >= CLOSED) return -1;
    if (seat == 0) {
        for (int look = 0; look < SEATING && *seats < groups; look++);
        atomic_xchg(seats + LINE, atomic_or(seats, CLOSED));
    } else {
        while (seats[LINE] == 0);
    }
    return seat;
}

/* Wait until all seated groups have come so often that `arrivals` have been counted. */
static inline void grid_barrier(volatile global int *seats, int groups, int arrivals) {
    SYNC;
    if (groups == 1) return;
    if (ITEM == 0) {
        arrive(seats + 2 * LINE);
        wait_for_arrivals(seats + 2 * LINE, arrivals);
    }
    SYNC;
}

KERNEL resident(STEP_ARGUMENTS, const global Phase *phases, const global Turn *turns, volatile global int *seats,
                int turn_count, int groups_of_turn) {
    if (get_group_id(0) >= turn_count * groups_of_turn) return;
    local Turn turn[1];
    local Phase phase_table[MOST_PHASES];
    local int place[2];
    LOCAL_PLAN;
    COPY_TABLE(turns + get_group_id(0) / groups_of_turn, turn, 1);
    SYNC_LOCAL;
    GO_TO_TURN(turn);
    seats += get_group_id(0) / groups_of_turn * 3 * LINE;
    BEGIN_TABLES;
    SYNC_LOCAL;
    COPY_PLAN;
    COPY_TABLE(phases, phase_table, turn->phase_count);
    if (ITEM == 0) {
        /* One item decides for all: seated groups may have stopped, and say so, while this one begins. */
        place[0] = control[0] ? -1 : take_seat(seats, groups_of_turn);
        place[1] = seats[LINE];
    }
    SYNC;
    const int seat = place[0], groups = place[1];
    if (seat < 0) return;
    const int capacity = turn->capacity;
    int arrivals = 0, slot = turn->first_step / runs->steps, epoch_step = turn->first_step % runs->steps;
    bool goes_on = true;
    for (int s = 0; s < turn->steps && goes_on; s++, epoch_step++) {
        if (epoch_step == runs->steps) {
            epoch_step = 0;
            slot++;
        }
        const bool ends = epoch_step == runs->steps - 1;
        const int epoch = turn->first_epoch + slot, phase_end = ends ? turn->phase_count : turn->epoch_end;
        for (int p = epoch_step == 0 ? 0 : turn->step_begin; p < phase_end; p++) {
            local const Phase *phase = phase_table + p;
            const int batch = phase->validation, number = batch < 0 ? slot * runs->steps + epoch_step : batch;
            const int number_in_epoch = batch < 0 ? epoch_step : batch;
            /* For each phase, since the step's weight is known only after the one that weighs the steps. */
            MAKE_STEP(batch < 0 ? runs : runs + 1, number, number_in_epoch);
            for (int tile = seat; tile < phase->tiles; tile += groups) {
                switch (phase->kind) {
                case BLOCKS: /* it may make further tiles of the group's, and let `tile` be the last */
                case TILES: RUN_STAGES(phase, tile, number, number_in_epoch); break;
                case ORDER: order_sample(runs, order, tile * ITEMS + ITEM, epoch); break;
                case WEIGH: weigh_step(runs, sample_weight, order, losses, tile, scratch); break;
                case SCORE: reduce_score(runs, losses, history, control, slot, capacity, scratch); break;
                case BEST: keep_best(runs, parameters, control, tile); break;
                case FINISH: reduce_epoch(runs, constants, losses, history, control, slot, capacity, scratch); break;
                }
            }
            grid_barrier(seats, groups, arrivals += groups);
        }
        /* What others have written has to be read from where it went. */
        if (ends) goes_on = (groups == 1 ? *control : *(volatile global const int *)control) == 0;
    }
}
