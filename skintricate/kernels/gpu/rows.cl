/* A block of rows through stages that follow each other, by one work-group: rows do not depend on each other until
 * the weights' gradients, so a barrier of the group is all that is between the stages. The lowering decides which
 * products are narrow enough for it.
 */

FUNCTION void rows_of_stage(STEP step, STAGE stage, int block, local scalar *scratch) {
    const int n0 = block * step->run->block_rows, count = SMALLER(step->run->block_rows, step->rows - n0);
    if (count <= 0 && stage->losses < 0 && stage->sums < 0) return;
    switch (stage->kind) {
#ifndef WHOLE_NETWORK
    case DENSE_FORWARD:
    case DENSE_BACKWARD_INPUT: dense_rows(step, stage, n0, count, scratch); break;
#endif
    case LOSS_SOFTMAX: loss_softmax_rows(step, stage, block, n0, count, scratch); break;
    case LOSS_ELEMENTWISE: loss_elementwise_rows(step, stage, block, n0, count, scratch); break;
    case ACTIVATION_FORWARD: activation_forward_rows(step, stage, n0, count); break;
    case ACTIVATION_BACKWARD: activation_backward_rows(step, stage, n0, count); break;
    case DROPOUT_FORWARD: dropout_forward_rows(step, stage, n0, count); break;
    case DROPOUT_BACKWARD: dropout_backward_rows(step, stage, n0, count); break;
    case SOFTMAX_FORWARD: softmax_forward_rows(step, stage, n0, count, scratch); break;
    case SOFTMAX_BACKWARD: softmax_backward_rows(step, stage, n0, count, scratch); break;
    case VALIDATION_SCORE: validation_score_rows(step, stage, block, n0, count, scratch); break;
#ifdef CONVOLUTION
    case CONVOLUTION_FORWARD: convolution_forward_rows(step, stage, block, n0, count, scratch); break;
    case CONVOLUTION_BACKWARD_INPUT: convolution_backward_input_rows(step, stage, block, n0, count, scratch); break;
#endif
#ifdef OPTIONAL
    default: optional_rows(step, stage, block, n0, LARGER(count, 0), scratch);
#endif
    }
}
