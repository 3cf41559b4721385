/* The factor that scales all gradients of a step to a norm of at most clip_norm, by one work-item.
 * The squared norms of the gradients' tiles lie at `source`; constants: [clip_norm]. A norm
 * that is not finite spoils the weights, so that it shows as divergence. */
TILE_FUNCTION clip_factor_tile(const Step *step, const global Stage *stage, int tile_number) {
    scalar squares = 0;
    for (int k = 0; k < stage->inputs; k++) squares += step->workspace[stage->source + k];
    const scalar norm = sqrt(squares), limit = step->constants[stage->constants];
    step->workspace[stage->target] = isfinite(norm) ? fmin(limit / norm, (scalar)1) : (scalar)NAN;
}

TILE_KERNEL(clip_factor)
