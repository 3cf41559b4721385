/* Where the resident launch of one plan finds its stages: in constants of the program, so that the compiler knows them.
 * tables.cl is its twin for all plans. Every item makes the step for itself.
 *
 * specialized.py defines STAGES_OF_PLAN, the rows of the table; KNOWN_OF_RUN, what is known of a Run; and
 * PHASES_OF_PLAN, made of the macros below, a case for each phase by its first stage.
 */
constant Stage known_stages[] = {STAGES_OF_PLAN};

static inline Run known_run(local const Run *runs) {
    Run run = *runs;
    KNOWN_OF_RUN;
    return run;
}

#define PHASE(first, runs, STATEMENTS)                                                            \
    case first: {                                                                                 \
        const Run run = known_run(runs);                                                          \
        const Step step[1] = {make_step(BUFFERS, &run, number, number_in_epoch)};                 \
        STATEMENTS                                                                                \
        break;                                                                                    \
    }
/* A phase of so many tiles, all of them small: a group makes the step once for all that are its own. */
#define PHASE_OF_FEW(first, tiles, runs, STATEMENTS)                                              \
    PHASE(first, runs, for (;; tile += groups) { STATEMENTS if (tile + groups >= tiles) break; })
#define BLOCK_OF(k)                                                                               \
    rows_of_stage(step, known_stages + k, tile, scratch);                                         \
    SYNC;
#define TILES_OF(k, begin, end)                                                                   \
    if (tile >= begin && tile < end) run_tile(step, known_stages + k, tile - begin, scratch);

/* Returns the last tile that it has made. */
static inline int run_stages(BUFFER_ARGUMENTS, local const Run *runs, int first, int tile, int groups, int number,
                             int number_in_epoch, local scalar *scratch) {
    switch (first) { PHASES_OF_PLAN }
    return tile;
}

#define LOCAL_PLAN
#define COPY_PLAN
#define MAKE_STEP(run, number, number_in_epoch)
#define RUN_STAGES(phase, tile, number, number_in_epoch)                                          \
    tile = run_stages(BUFFERS, runs, (phase)->first, tile, groups, number, number_in_epoch, scratch)
