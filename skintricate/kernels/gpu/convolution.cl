/* Convolutions by work-groups: an item makes whole vectors of the result, see convolution.cl. */

FUNCTION void convolution_forward_rows(ROW_ARGUMENTS) {
    const Window w = window_of(step, stage);
    FOR_PIXELS_AND_VECTORS(n0, count, w.out_height, w.out_width, stage->outputs, , , {
        const real bias = bias_of(step, stage, j * WIDTH);
        finish_forward(step, stage, n, j * WIDTH, convolved(step, stage, w, sample, y, x, j) + bias);
    })
}

FUNCTION void convolution_backward_input_rows(ROW_ARGUMENTS) {
    const Window w = window_of(step, stage);
    FOR_PIXELS_AND_VECTORS(n0, count, w.height, w.width, stage->outputs, , , {
        Activated before;
        load_for_input(step, stage, n, j * WIDTH, &before);
        finish_input(step, stage, n, j * WIDTH, convolved_back(step, stage, w, sample, y, x, j), &before);
    })
}

/* 2^log_lanes vectors of the gradient of W by a group, whose items share the windows of each. */
FUNCTION void convolution_weights(STEP step, STAGE stage, int tile, local scalar *scratch) {
    const Window w = window_of(step, stage);
    const BatchPart part = part_of_batch(step, stage, tile);
    const int lanes = 1 << stage->log_lanes, slices = ITEMS / lanes, vectors = vectors_of(stage->outputs);
    const int v = part.tile * lanes + ITEM % lanes, i = v / vectors, j = v % vectors, slice = ITEM / lanes;
    const bool inside = i < stage->inputs + stage->bias;
    real sum = 0;
    if (inside) sum = convolved_weights(step, stage, w, part.begin, part.end, i, j, slice, slices);
    sum = sum_slices(sum, lanes, slices, scratch);
    if (inside && slice == 0) store(sum, part.sums + (size_t)v * WIDTH);
}
