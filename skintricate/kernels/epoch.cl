/* What happens once an epoch: the order of the samples, the weight of each step, the losses, and whether to stop.
 * How it is shared out among work-items is in `epoch.cl` of cpu and gpu.
 *
 * The order is a keyed bijection of 0 .. samples - 1 rather than a sorted table: a Feistel network with
 * addition over the square of side `shuffle_side` (Black and Rogaway 2002), the smallest square that holds
 * all samples, applied again where it lands outside (cycle walking, seldom more than twice).
 * skintricate/kernels/shuffle.py is its twin for data that is streamed.
 */
#define SHUFFLE_ROUNDS 6

/* One walk from (left, right), both below `side`, which change: the index where it ends. INDEX is uint or a vector. */
#define DEFINE_SHUFFLE(NAME, INDEX)                                                               \
static inline INDEX NAME(INDEX *left, INDEX *right, uint key, uint side) {                        \
    for (uint round = 0; round < SHUFFLE_ROUNDS; round++) {                                       \
        INDEX h = (*right + key) * 0x9E3779B9u + round * 0x85EBCA6Bu;                             \
        h ^= h >> 16; h *= 0x7FEB352Du; h ^= h >> 15; h *= 0x846CA68Bu; h ^= h >> 16;             \
        const INDEX sum = *left + mul_hi(h, (INDEX)side);                                         \
        *left = *right;                                                                           \
        *right = sum >= side ? sum - side : sum;                                                  \
    }                                                                                             \
    return *left * side + *right;                                                                 \
}

/* Let a sample be that at `position` of the order. */
static inline void put_in_order(TABLE const Run *run, global int *order, uint position, uint sample) {
    order[position] = sample;
    if (run->x_order) order[run->x_order + position] = order[run->x_rows + sample];
}

/* history begins with [tolerance, best loss, sum of the best score, factor of the sum in the score], HISTORY_HEAD
 * numbers in all, then the epochs' losses, accuracies and sums of scores, then the steps' losses and accuracies, for
 * `capacity` epochs.
 * control: [why training has stopped, epochs done, epochs without improvement, whether the score is the best]. */

/* Whether a halting condition holds: pairs (instruction, number) in postfix order, results on a stack of bits. */
static inline bool halting_holds(const global scalar *pairs, int count, scalar loss, scalar accuracy) {
    uint stack = 0;
    for (int i = 0; i < count; i++, pairs += 2) {
        const uint top = stack & 1, below = stack >> 1 & 1;
        switch ((int)pairs[0]) {
        case LOSS_AT_MOST: stack = stack << 1 | (loss <= pairs[1]); break;
        case ACCURACY_AT_LEAST: stack = stack << 1 | (accuracy >= pairs[1]); break;
        case BOTH_HOLD: stack = (stack >> 2 << 1) | (top & below); break;
        case EITHER_HOLDS: stack = (stack >> 2 << 1) | (top | below); break;
        }
    }
    return stack & 1;
}

/* Record the sums of an epoch's losses at `slot` of the history, and decide whether to go on. */
static inline void record_epoch(TABLE const Run *run, const global scalar *constants, global scalar *history,
                                global int *control, int slot, int capacity, scalar total, scalar total_correct,
                                scalar total_weight) {
    /* All that is read comes first, so that it comes together. */
    const int done = control[1], without = control[2];
    const scalar best = history[BEST_LOSS], tolerance = history[TOLERANCE];
    const scalar loss = total_weight > 0 ? total / total_weight : 0;
    const scalar accuracy = total_weight > 0 ? total_correct / total_weight : 0;
    const int epochs_without = run->early_stopping ? without : loss > best - tolerance ? without + 1 : 0;
    history[HISTORY_HEAD + slot] = loss;
    history[HISTORY_HEAD + capacity + slot] = accuracy;
    history[BEST_LOSS] = fmin(best, loss);
    control[1] = done + 1;
    control[2] = epochs_without;
    if (!isfinite(loss)) control[0] = NOT_FINITE;
    else if (halting_holds(constants + run->halting, run->halting_count, loss, accuracy)) control[0] = HALTED;
    else if (run->patience > 0 && epochs_without > run->patience) control[0] = NO_IMPROVEMENT;
}

/* Record the loss and the accuracy of step s of an epoch. */
static inline void record_step(TABLE const Run *run, global scalar *history, int slot, int capacity, int s, scalar loss,
                               scalar correct, scalar weight) {
    global scalar *step_loss = history + HISTORY_HEAD + 3 * capacity + (size_t)slot * run->steps;
    step_loss[s] = weight > 0 ? loss / weight : 0;
    step_loss[s + (size_t)capacity * run->steps] = weight > 0 ? correct / weight : 0;
}

/* Record the sum of an epoch's validation score, and whether it is the best. */
static inline void record_score(TABLE const Run *run, global scalar *history, global int *control, int slot,
                                int capacity, scalar total) {
    history[HISTORY_HEAD + 2 * capacity + slot] = total;
    /* Sums are compared, not scores: near 1 those of float32 lie too far apart. */
    const scalar gain = (total - history[BEST_SUM]) * history[SCORE_FACTOR];
    control[3] = gain > 0;
    if (!run->early_stopping) return;
    control[2] = gain >= history[TOLERANCE] ? 0 : control[2] + 1;
    if (control[3]) history[BEST_SUM] = total;
}
