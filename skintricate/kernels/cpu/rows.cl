/* A tile of any stage, and everything of a step that one block of rows needs, in one work-item: forward, loss and the
 * gradients of all tensors. Rows do not depend on each other until the weights' gradients. It pays while the weights
 * stay in a core's cache; the lowering decides.
 */

/* A tile of a stage of any kind. */
static inline void run_tile(const Step *step, const global Stage *stage, int tile) {
    switch (stage->kind) {
    case DENSE_FORWARD: dense_forward_tile(step, stage, tile); break;
    case DENSE_BACKWARD_INPUT: dense_backward_input_tile(step, stage, tile); break;
    case LOSS_SOFTMAX: loss_softmax_tile(step, stage, tile); break;
    case LOSS_ELEMENTWISE: loss_elementwise_tile(step, stage, tile); break;
    case ACTIVATION_FORWARD: activation_forward_tile(step, stage, tile); break;
    case ACTIVATION_BACKWARD: activation_backward_tile(step, stage, tile); break;
    case DROPOUT_FORWARD: dropout_forward_tile(step, stage, tile); break;
    case DROPOUT_BACKWARD: dropout_backward_tile(step, stage, tile); break;
    case SOFTMAX_FORWARD: softmax_forward_tile(step, stage, tile); break;
    case SOFTMAX_BACKWARD: softmax_backward_tile(step, stage, tile); break;
    case DENSE_BACKWARD_WEIGHTS: dense_backward_weights_tile(step, stage, tile); break;
    case DENSE_ADD_PARTS: dense_add_parts_tile(step, stage, tile); break;
    case CLIP_FACTOR: clip_factor_tile(step, stage, tile); break;
    case VALIDATION_SCORE: validation_score_tile(step, stage, tile); break;
    case DENSE_UPDATE: dense_update_tile(step, stage, tile); break;
#ifdef CONVOLUTION
    case CONVOLUTION_FORWARD: convolution_forward_tile(step, stage, tile); break;
    case CONVOLUTION_BACKWARD_INPUT: convolution_backward_input_tile(step, stage, tile); break;
    case CONVOLUTION_BACKWARD_WEIGHTS: convolution_backward_weights_tile(step, stage, tile); break;
#endif
#ifdef SPARSE
    case SPARSE_BACKWARD_WEIGHTS: sparse_backward_weights_tile(step, stage, tile); break;
#endif
#ifdef OPTIONAL
    default:
        if (!optional_tile(step, stage, tile))
            optional_rows(step, stage, tile, tile * ROWS, SMALLER(ROWS, step->rows - tile * ROWS), 0);
#endif
    }
}

static inline void row_block(const Step *step, const global Stage *stages, int stage, int stage_end, int block) {
    const int row_tiles = (step->run->batch_size + ROWS - 1) / ROWS;
    for (; stage < stage_end; stage++)
        for (int tile = block; tile < stages[stage].tiles; tile += row_tiles) run_tile(step, stages + stage, tile);
}

TILE_KERNEL_OF_MANY(tiles, run_tile)

KERNEL rows(STEP_ARGUMENTS, int stage, int stage_end) {
    BEGIN_STEP;
    if (get_global_id(0) * ROWS < run->batch_size) row_block(&step, stages, stage, stage_end, get_global_id(0));
}
