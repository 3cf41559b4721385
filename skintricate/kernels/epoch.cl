/* What happens once an epoch: the order of the samples, the weight of each step, the losses, and whether to stop.
 *
 * The order is a keyed bijection of 0 .. samples - 1 rather than a sorted table: a Feistel network with
 * addition over the square of side `shuffle_side` (Black and Rogaway 2002), the smallest square that holds
 * all samples, applied again where it lands outside (cycle walking, seldom more than twice).
 * skintricate/kernels/shuffle.py is its twin for data that is streamed.
 */
#define SHUFFLE_ROUNDS 6
typedef JOIN(uint, WIDTH) indices;
typedef indices unaligned_indices __attribute__((aligned(4)));
#define INDEX_LANES (JOIN(convert_uint, WIDTH)(LANES))

/* Order the samples row * side + (0 .. side - 1) of an epoch. */
static inline void order_row(const global Run *run, global int *order, uint row, uint epoch) {
    const uint side = run->shuffle_side, samples = run->samples;
    const uint key = philox((uint2)(epoch, 0u), run->seed).x;
    for (uint begin = 0; begin < side && row * side + begin < samples; begin += WIDTH) {
        const uint left_in_row = SMALLER(side - begin, samples - (row * side + begin));
        const uint count = SMALLER(left_in_row, (uint)WIDTH);
        indices left = row, right = begin + INDEX_LANES, result = 0;
        JOIN(int, WIDTH) todo = INDEX_LANES < count;
        while (any(todo)) {
            for (uint round = 0; round < SHUFFLE_ROUNDS; round++) {
                indices h = (right + key) * 0x9E3779B9u + round * 0x85EBCA6Bu;
                h ^= h >> 16; h *= 0x7FEB352Du; h ^= h >> 15; h *= 0x846CA68Bu; h ^= h >> 16;
                const indices sum = left + mul_hi(h, (indices)side);
                left = right;
                right = sum >= side ? sum - side : sum;
            }
            const indices index = left * side + right;
            result = todo && index < samples ? index : result;
            todo = todo && index >= samples;
        }
        uint lanes[WIDTH];
        *(unaligned_indices *)lanes = result;
        for (uint i = 0; i < count; i++) order[row * side + begin + i] = lanes[i];
    }
}

/* The sum of the sample weights of step s of an epoch; column 0 of the losses. */
static inline void weigh_step(const global Run *run, const global scalar *sample_weight, const global int *order,
                              global scalar *losses, int s) {
    scalar total = 0;
    const int end = SMALLER((s + 1) * run->batch_size, run->samples);
    /* fma keeps the sum in order: Intel's compiler sums in vector lanes where the rows are not gathered. */
    for (int n = s * run->batch_size; n < end; n++)
        total = fma(sample_weight[run->ordered ? order[n] : n], (scalar)1, total);
    losses[(size_t)s * (run->partials + 1)] = total;
}

/* history begins with [tolerance, best loss, sum of the best score, factor of the sum in the score], HISTORY_HEAD
 * numbers in all, then the epochs' losses, accuracies and sums of scores, then the steps' losses and accuracies, for `capacity` epochs.
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

/* Reduce the partial losses of the epoch at `slot` to step losses and one epoch loss, and decide whether to go on. */
static inline void reduce_epoch(const global Run *run, const global scalar *constants, const global scalar *losses,
                                global scalar *history, global int *control, int slot, int capacity) {
    const int steps = run->steps;
    global scalar *epoch_loss = history + HISTORY_HEAD, *epoch_accuracy = epoch_loss + capacity;
    global scalar *step_loss = epoch_accuracy + 2 * capacity + (size_t)slot * steps;
    global scalar *step_accuracy = step_loss + (size_t)capacity * steps;
    scalar total = 0, total_correct = 0, total_weight = 0;
    for (int s = 0; s < steps; s++) {
        global const scalar *partial = losses + (size_t)s * (run->partials + 1);
        const int rows = SMALLER(run->batch_size, run->samples - s * run->batch_size);
        const scalar weight = run->weighted ? partial[0] : (scalar)rows;
        scalar loss = 0, correct = 0;
        for (int k = 0; k < run->partials; k += 2) {
            loss += partial[1 + k];
            correct += partial[2 + k];
        }
        total += loss;
        total_correct += correct;
        total_weight += weight;
        step_loss[s] = weight > 0 ? loss / weight : 0;
        step_accuracy[s] = weight > 0 ? correct / weight : 0;
    }
    const scalar loss = total_weight > 0 ? total / total_weight : 0;
    const scalar accuracy = total_weight > 0 ? total_correct / total_weight : 0;
    epoch_loss[slot] = loss;
    epoch_accuracy[slot] = accuracy;
    control[1] += 1;
    if (!run->early_stopping) control[2] = loss > history[BEST_LOSS] - history[TOLERANCE] ? control[2] + 1 : 0;
    history[BEST_LOSS] = fmin(history[BEST_LOSS], loss);
    if (!isfinite(loss)) control[0] = NOT_FINITE;
    else if (halting_holds(constants + run->halting, run->halting_count, loss, accuracy)) control[0] = HALTED;
    else if (run->patience > 0 && control[2] > run->patience) control[0] = NO_IMPROVEMENT;
}

/* The launch's offset is the epoch. */
KERNEL order_samples(STEP_ARGUMENTS) {
    if (control[0] || get_global_id(0) >= run->shuffle_side) return;
    order_row(run, order, get_global_id(0), get_global_id(1));
}

KERNEL weigh_steps(STEP_ARGUMENTS) {
    if (control[0] || get_global_id(0) >= run->steps) return;
    weigh_step(run, sample_weight, order, losses, get_global_id(0));
}

/* The launch's offset is the epoch's slot in the history. */
KERNEL finish_epoch(STEP_ARGUMENTS, int capacity) {
    if (get_global_id(0) > 0 || control[0]) return;
    reduce_epoch(run, constants, losses, history, control, get_global_id(1), capacity);
}
