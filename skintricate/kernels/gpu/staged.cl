/* The kernels of the staged schedule, a launch each. Every group makes the tile of its number; what changes from step to
 * step is the step's number, which is the launch's offset.
 */
#define BEGIN_RUN                                                                                 \
    BEGIN_TABLES;                                                                                 \
    if (control[0]) return;                                                                       \
    SYNC /* what a kernel writes to `control` lies behind it */
#define BEGIN_GROUP                                                                               \
    local Stage row[1];                                                                           \
    local Step steps[1];                                                                          \
    BEGIN_RUN;                                                                                    \
    if (ITEM == 0) *steps = make_step(BUFFERS, runs, get_global_id(1), get_global_id(1) % runs->steps)

/* Run STATEMENT for each tile of independent stages that this group does; `stage` is the tile's. */
#define FOR_TILE_OF_MANY(STATEMENT)                                                               \
    for (int tile = get_group_id(0); first < end; first++) {                                      \
        const int tiles = stages[first].tiles;                                                    \
        if (tile >= 0 && tile < tiles) {                                                          \
            STAGE stage = row;                                                                    \
            COPY_TABLE(stages + first, row, 1);                                                   \
            SYNC_LOCAL;                                                                           \
            STATEMENT;                                                                            \
            SYNC_LOCAL;                                                                           \
        }                                                                                         \
        tile -= tiles;                                                                            \
    }

/* A block of rows through stages that follow each other. */
KERNEL rows(STEP_ARGUMENTS, int first, int end) {
    BEGIN_GROUP;
    for (; first < end; first++) {
        COPY_TABLE(stages + first, row, 1);
        SYNC_LOCAL;
        rows_of_stage(steps, row, get_group_id(0), scratch);
        SYNC;
    }
}

/* Every stage that is not one of rows; its tiles are one work-group each. Those that multiply nothing have a kernel of
 * their own, which needs few registers. */
KERNEL tiles(STEP_ARGUMENTS, int first, int end) {
    BEGIN_GROUP;
    FOR_TILE_OF_MANY(run_tile(steps, stage, tile, scratch));
}

KERNEL updates(STEP_ARGUMENTS, int first, int end) {
    BEGIN_GROUP;
    FOR_TILE_OF_MANY(run_update(steps, stage, tile, scratch));
}

/* The launch's offset is the epoch. */
KERNEL order_samples(STEP_ARGUMENTS) {
    BEGIN_RUN;
    order_sample(runs, order, get_global_id(0), get_global_id(1));
}

KERNEL weigh_steps(STEP_ARGUMENTS) {
    BEGIN_RUN;
    weigh_step(runs, sample_weight, order, losses, get_group_id(0), scratch);
}

/* The launch's offset is the epoch's slot in the history. */
KERNEL finish_epoch(STEP_ARGUMENTS, int capacity) {
    BEGIN_RUN;
    reduce_epoch(runs, constants, losses, history, control, get_global_id(1), capacity, scratch);
}
