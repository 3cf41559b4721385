/* Activations and dropout as layers of their own, ROWS rows of one panel a tile.
 *
 * Forward reads X or a tensor; backward multiplies by the layer's own derivative and by that of the
 * activation that made its input, if one was fused there.
 */

typedef struct {
    int n0, rows, o0, width;
    size_t at;
} Block;

/* The block of a tile, as panels of the workspace lie. */
static inline Block block_of(const Step *step, const global Stage *stage, int tile_number) {
    const int batch = step->run->batch_size, row_tiles = (batch + ROWS - 1) / ROWS, pixels = stage->pixels;
    Block block;
    block.n0 = (tile_number % row_tiles * pixels + tile_number / row_tiles % pixels) * ROWS;
    block.o0 = tile_number / row_tiles / pixels * PANEL;
    block.rows = SMALLER(ROWS, step->rows * pixels - block.n0);
    block.width = panel_width(block.o0, stage->outputs);
    block.at = (size_t)block.o0 * batch * pixels + (size_t)block.n0 * block.width;
    return block;
}

/* Vector i of a block of the layer's input; from X lanes past the last feature are zero. */
static inline real load_input(const Step *step, const global Stage *stage, Block block, int i) {
    if (stage->source >= 0) return load(step->workspace + stage->source + block.at + i * WIDTH);
    const int r = i * WIDTH / block.width, column = block.o0 + i * WIDTH % block.width;
    return without_padding(load(step->X + x_row(step, block.n0 + r) * stage->outputs + column),
                           stage->outputs - column);
}

TILE_FUNCTION activation_forward_tile(const Step *step, const global Stage *stage, int tile_number) {
    const Block block = block_of(step, stage, tile_number);
    const int count = block.rows * block.width / WIDTH;
    global scalar *workspace = step->workspace + block.at;
    real tile[ROWS * COLUMNS];
    for (int i = 0; i < count; i++) tile[i] = load_input(step, stage, block, i);
    if (stage->saved >= 0) store_tile(tile, count, workspace + stage->saved);
    activation_stored(stage->code, count, tile, workspace + stage->target, step->constants + stage->constants);
}

/* target = gradient * f'(value, saved): through an activation to its input. */
TILE_FUNCTION activation_backward_tile(const Step *step, const global Stage *stage, int tile_number) {
    const Block block = block_of(step, stage, tile_number);
    const int vectors = block.width / WIDTH, count = LARGER(block.rows, 0) * vectors;
    global scalar *workspace = step->workspace + block.at;
    const global scalar *y = workspace + stage->value, *x = stage->saved >= 0 ? workspace + stage->saved : y;
    real tile[ROWS * COLUMNS];
    load_tile(tile, count, workspace + stage->gradient);
    activation_derivative_stored(stage->code, count, tile, x, y, workspace + stage->target, step->constants + stage->constants);
    clear_stored_padding(workspace + stage->target, block.rows, vectors, stage->outputs - block.o0);
}

/* The factors of vector i of a block. */
static inline real dropout_factor(const Step *step, const global Stage *stage, Block block, int i) {
    const uint n = step->run->share_begin + block.n0 + i * WIDTH / block.width;
    const uint column = block.o0 + i * WIDTH % block.width;
    return dropout_factors(step->constants[stage->constants], step->run->seed, stage->id,
                           n * (uint)stage->outputs + column, step->number);
}

TILE_FUNCTION dropout_forward_tile(const Step *step, const global Stage *stage, int tile_number) {
    const Block block = block_of(step, stage, tile_number);
    for (int i = 0; i < block.rows * block.width / WIDTH; i++)
        store(load_input(step, stage, block, i) * dropout_factor(step, stage, block, i),
              step->workspace + stage->target + block.at + i * WIDTH);
}

TILE_FUNCTION dropout_backward_tile(const Step *step, const global Stage *stage, int tile_number) {
    const Block block = block_of(step, stage, tile_number);
    for (int i = 0; i < block.rows * block.width / WIDTH; i++) {
        const size_t at = block.at + i * WIDTH;
        store(load(step->workspace + stage->gradient + at) * dropout_factor(step, stage, block, i),
              step->workspace + stage->target + at);
    }
}

TILE_KERNEL(activation_forward)
TILE_KERNEL(activation_backward)
TILE_KERNEL(dropout_forward)
TILE_KERNEL(dropout_backward)
