/* Whole epochs of a small network in one launch of one work-item: no launch, wait or argument a step.
 *
 * It walks the stages that the staged schedule launches, tile by tile in the same order, so both give the
 * same bits. Stages lie as blocks of rows [0, rows_end), gradients of weights [rows_end, weights_end) and,
 * where gradients are clipped, the factor and the updates [weights_end, stages_end). The launch's offset is
 * the number of the first epoch.
 */
KERNEL resident(STEP_ARGUMENTS, int rows_end, int weights_end, int stages_end, int capacity, int shuffle,
                     int epochs) {
    const int first_epoch = get_global_id(1);
    const int row_tiles = (run->batch_size + ROWS - 1) / ROWS;
    for (int epoch = 0; epoch < epochs && control[0] == 0; epoch++) {
        if (shuffle)
            for (uint row = 0; row < (uint)run->shuffle_side; row++) order_row(run, order, row, first_epoch + epoch);
        if (run->weighted)
            for (int s = 0; s < run->steps; s++) weigh_step(run, sample_weight, order, losses, s);
        for (int s = 0; s < run->steps; s++) {
            const Step step = make_step(STEP_NAMES, epoch * run->steps + s);
            for (int block = 0; block < row_tiles; block++) row_block(&step, stages, 0, rows_end, block);
            for (int stage = rows_end; stage < weights_end; stage++)
                for (int tile = 0; tile < stages[stage].tiles; tile++)
                    dense_backward_weights_tile(&step, stages + stage, tile);
            if (weights_end == stages_end) continue;
            clip_factor_tile(&step, stages + weights_end, 0);
            for (int stage = weights_end + 1; stage < stages_end; stage++)
                for (int tile = 0; tile < stages[stage].tiles; tile++) dense_update_tile(&step, stages + stage, tile);
        }
        reduce_epoch(run, losses, history, control, epoch, capacity);
    }
}
