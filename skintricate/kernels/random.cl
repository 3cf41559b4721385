/* Counter-based random numbers: Philox 2x32 with ten rounds (Salmon et al. 2011).
 * The same counter and key give the same bits on every device and in every schedule. */
static inline uint2 philox(uint2 counter, uint key) {
    for (int round = 0; round < 10; round++) {
        const uint high = mul_hi(0xD256D193u, counter.x), low = 0xD256D193u * counter.x;
        counter = (uint2)(high ^ key ^ counter.y, low);
        key += 0x9E3779B9u;
    }
    return counter;
}
