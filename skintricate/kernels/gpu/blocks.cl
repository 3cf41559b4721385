/* Blocks of many rows through stages that follow each other, as a large batch has them beside its large products. Their
 * own products are made by warps, see slices.cl.
 */
LARGE_KERNEL large_rows(STEP_ARGUMENTS, int first_stage, int end_stage) {
    BEGIN_LARGE
    local scalar scratch[SCRATCH] __attribute__((aligned(16)));
    for (int number = 0; number < end_stage - first_stage; number++) {
        if (number > 0 && number % LARGE_TABLE == 0)
            copy_large_tables(run, runs, stages + first_stage + number, table,
                              SMALLER(LARGE_TABLE, end_stage - first_stage - number));
        SYNC;
        rows_of_stage(step, table + number % LARGE_TABLE, tile, scratch);
        SYNC;
    }
}
