/* The stages that a program has only where a network asks for their source. */
#define OPTIONAL

FUNCTION void optional_rows(ROW_ARGUMENTS) {
    switch (stage->kind) {
    case RESHAPE: reshape_rows(step, stage, block, n0, count, scratch); break;
    case COPY_COLUMNS: copy_columns_rows(step, stage, block, n0, count, scratch); break;
    case ADD: add_rows(step, stage, block, n0, count, scratch); break;
    case NOISE: noise_rows(step, stage, block, n0, count, scratch); break;
#ifdef POOLING
    case MAX_POOL_FORWARD: max_pool_forward_rows(step, stage, block, n0, count, scratch); break;
    case MAX_POOL_BACKWARD: max_pool_backward_rows(step, stage, block, n0, count, scratch); break;
    case AVERAGE_POOL_FORWARD: average_pool_forward_rows(step, stage, block, n0, count, scratch); break;
    case AVERAGE_POOL_BACKWARD: average_pool_backward_rows(step, stage, block, n0, count, scratch); break;
#endif
#ifdef NORMALIZATION
    case BATCH_NORM_SUMS: batch_norm_sums_rows(step, stage, block, n0, count, scratch); break;
    case BATCH_NORM_FORWARD: batch_norm_forward_rows(step, stage, block, n0, count, scratch); break;
    case BATCH_NORM_BACKWARD_SUMS: batch_norm_backward_sums_rows(step, stage, block, n0, count, scratch); break;
    case BATCH_NORM_BACKWARD: batch_norm_backward_rows(step, stage, block, n0, count, scratch); break;
    case LAYER_NORM_FORWARD: layer_norm_forward_rows(step, stage, block, n0, count, scratch); break;
    case LAYER_NORM_BACKWARD: layer_norm_backward_rows(step, stage, block, n0, count, scratch); break;
    case SCALE_FORWARD: scale_forward_rows(step, stage, block, n0, count, scratch); break;
    case SCALE_BACKWARD: scale_backward_rows(step, stage, block, n0, count, scratch); break;
#endif
#ifdef SPARSE
    case SPARSE_FORWARD: sparse_forward_rows(step, stage, block, n0, count, scratch); break;
#endif
#ifdef EMBEDDING
    case EMBEDDING_FORWARD: embedding_forward_rows(step, stage, block, n0, count, scratch); break;
#endif
    }
}

/* A tile of a stage that is not one of rows; says whether the stage is one. */
static inline bool optional_tile(STEP step, STAGE stage, int tile) {
    switch (stage->kind) {
#ifdef NORMALIZATION
    case BATCH_NORM_STATISTICS: batch_norm_statistics(step, stage, tile); return true;
    case BATCH_NORM_BACKWARD_STATISTICS: batch_norm_backward_statistics(step, stage, tile); return true;
#endif
#ifdef EMBEDDING
    case EMBEDDING_BACKWARD_WEIGHTS: embedding_backward_weights(step, stage, tile); return true;
#endif
    }
    return false;
}
