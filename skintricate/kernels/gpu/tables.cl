/* Where the resident launch finds the stages of a plan: in a table, which each group copies to local memory, as it does
 * with the step. specialized.cl is its twin for one plan alone.
 */
#define LOCAL_PLAN                                                                                \
    local Stage table[MOST_STAGES];                                                               \
    local Step steps[1]
#define COPY_PLAN COPY_TABLE(stages, table, runs->stage_count)
#define MAKE_STEP(run, number, number_in_epoch)                                                   \
    if (ITEM == 0) *steps = make_step(BUFFERS, run, number, number_in_epoch);                     \
    SYNC_LOCAL
/* The step has these numbers. */
#define RUN_STAGES(phase, tile, number, number_in_epoch) run_stages(steps, table, phase, tile, scratch)

/* A tile of a phase's stages: a block of rows goes through all of them, other tiles are those of one after another. */
static inline void run_stages(STEP step, STAGE table, local const Phase *phase, int tile, local scalar *scratch) {
    STAGE stage = table + phase->first;
    if (phase->kind == BLOCKS) {
        for (; stage < table + phase->end; stage++) {
            rows_of_stage(step, stage, tile, scratch);
            SYNC;
        }
    } else {
        for (; tile >= stage->tiles; stage++) tile -= stage->tiles;
        run_tile(step, stage, tile, scratch);
    }
}
