/* Products of fragments on NVIDIA's tensor cores, 16 x 8 times 8 x 8, by a warp. The instruction is PTX's mma, as its
 * manual names the lanes: `group` 0..7, `member` 0..3.
 *
 * PASSES 3: each operand is the sum of two tf32 numbers, and their three larger products are summed (Ootomo and Yokota
 * 2022). The tensor cores cut off where they add, so a sum of few products is made there before it is taken on in
 * float32, 8 or 16: the error is that of float32 ("highest").
 * Otherwise operands are rounded to tf32, 10 bits of the fraction, and products summed in float32 ("high").
 */
/* The tf32 number nearest to x: that with 11 bits (Veltkamp's splitting), NaN beyond 4e34. PTX's cvt.rna.tf32 runs at an
 * eighth of the rate. */
static inline float tf32(float x) { return fma(-8192.0f, x, 8193.0f * x); }
#define MMA_TF32(c, a, b)                                                                         \
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
        : "+f"((c).s0), "+f"((c).s1), "+f"((c).s2), "+f"((c).s3)                                  \
        : "r"((a)[0]), "r"((a)[1]), "r"((a)[2]), "r"((a)[3]), "r"((b)[0]), "r"((b)[1]))
#if PASSES == 3
#define SPLIT(bits, large, rest) {                                                                \
    large = as_uint(tf32(as_float(bits)));                                                        \
    rest = as_uint(as_float(bits) - as_float(large)); /* the tensor core leaves off what is beyond tf32 */ \
}
#define MULTIPLY_FRAGMENT(c, a, b, a_rest, b_rest) {                                              \
    float4 sum = 0;                                                                               \
    MMA_TF32(sum, a_rest, b);                                                                     \
    MMA_TF32(sum, a, b_rest);                                                                     \
    MMA_TF32(sum, a, b);                                                                          \
    c += sum;                                                                                     \
}
/* The same of 16 steps; a and b have `large` and `rest` of both eights. */
#define MULTIPLY_16_STEPS(c, a, b) {                                                              \
    float4 sum = 0;                                                                               \
    MMA_TF32(sum, (a).rest, (b).large);                                                           \
    MMA_TF32(sum, (a).rest + 4, (b).large + 2);                                                   \
    MMA_TF32(sum, (a).large, (b).rest);                                                           \
    MMA_TF32(sum, (a).large + 4, (b).rest + 2);                                                   \
    MMA_TF32(sum, (a).large, (b).large);                                                          \
    MMA_TF32(sum, (a).large + 4, (b).large + 2);                                                  \
    c += sum;                                                                                     \
}
#else
#define SPLIT(bits, large, rest) large = as_uint(tf32(as_float(bits)));
#define MULTIPLY_FRAGMENT(c, a, b, a_rest, b_rest) MMA_TF32(c, a, b);
#define MULTIPLY_16_STEPS(c, a, b) {                                                              \
    MMA_TF32(c, (a).large, (b).large);                                                            \
    MMA_TF32(c, (a).large + 4, (b).large + 2);                                                    \
}
#endif
/* What the lane of the warp has whose number differs in one bit. */
static inline float of_other_lane(float x, int bit) {
    float other;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 31, 0xffffffff;" : "=f"(other) : "f"(x), "r"(bit));
    return other;
}
/* Two bfloat16 numbers in one word, `low` in the lower half. */
static inline uint bfloat16_pair(float low, float high) {
    uint bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}
