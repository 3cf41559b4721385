/* The factors of inverted dropout for WIDTH columns: 0 with probability `rate`, else 1 / (1 - rate). The counter is the
 * element's `position` in its step and the number of the step; layers differ by `id`. */
static inline real dropout_factors(scalar rate, uint seed, int id, uint position, uint step) {
    const uint key = seed + 0x9E3779B9u * (uint)(id + 1);
    scalar factors[WIDTH];
    for (uint lane = 0; lane < WIDTH; lane++) {
        const uint2 bits = philox((uint2)(position + lane, step), key);
        factors[lane] = (scalar)(bits.x >> 8) / (scalar)16777216 < rate ? (scalar)0 : 1 / (1 - rate);
    }
    return load_private(factors);
}
