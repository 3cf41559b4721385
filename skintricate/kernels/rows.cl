/* Everything of a step that one block of rows needs, in one work-item: forward, loss and the gradients of
 * all tensors. Rows do not depend on each other until the weights' gradients, so a step of any depth
 * is two launches. It pays while the weights stay in a core's cache; the lowering decides.
 */
kernel void rows(STEP_ARGUMENTS, int stage, int stage_end) {
    BEGIN_STEP;
    const int row_tiles = (run->batch_size + ROWS - 1) / ROWS;
    const int block = get_global_id(0);
    if (block >= row_tiles) return;
    for (; stage < stage_end; stage++) {
        const global Stage *s = stages + stage;
        for (int tile = block; tile < s->tiles; tile += row_tiles) {
            switch (s->kind) {
            case DENSE_FORWARD: dense_forward_tile(&step, s, tile); break;
            case DENSE_BACKWARD_INPUT: dense_backward_input_tile(&step, s, tile); break;
            case LOSS_SOFTMAX: loss_softmax_tile(&step, s, tile); break;
            case LOSS_ELEMENTWISE: loss_elementwise_tile(&step, s, tile); break;
            case ACTIVATION_FORWARD: activation_forward_tile(&step, s, tile); break;
            case ACTIVATION_BACKWARD: activation_backward_tile(&step, s, tile); break;
            case DROPOUT_FORWARD: dropout_forward_tile(&step, s, tile); break;
            case DROPOUT_BACKWARD: dropout_backward_tile(&step, s, tile); break;
            case SOFTMAX_FORWARD: softmax_forward_tile(&step, s, tile); break;
            case SOFTMAX_BACKWARD: softmax_backward_tile(&step, s, tile); break;
            }
        }
    }
}
