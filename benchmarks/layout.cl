/* C = A B by the package's register tiles, for two layouts of all three matrices.
 *
 * ROW_MAJOR defined: rows one after the other, and a step down B goes B_STEP = O scalars further.
 * else: column panels, as in the package. cpu/tile.cl is included before, with its step down B replaced by B_STEP.
 * N is a multiple of ROWS, I and O of WIDTH.
 */
kernel void product(global const scalar *A, global const scalar *B, global scalar *C, int N, int I, int O) {
    const int row_tiles = N / ROWS, tile_number = get_global_id(0);
    const int n0 = tile_number % row_tiles * ROWS, o0 = tile_number / row_tiles * PANEL;
    const int width = panel_width(o0, O), vectors = width / WIDTH;
    size_t row[ROWS];
    real tile[ROWS * COLUMNS];
    for (int r = 0; r < ROWS; r++) row[r] = n0 + r;
#ifdef ROW_MAJOR
    multiply(vectors, A, row, I, I, I, N, B + o0, 0, tile);
    for (int r = 0; r < ROWS; r++)
        store_tile(tile + r * vectors, vectors, C + (size_t)(n0 + r) * O + o0);
#else
    multiply(vectors, A, row, I, PANEL, I, N, B + (size_t)o0 * I, 0, tile);
    store_tile(tile, ROWS * vectors, C + (size_t)o0 * N + (size_t)n0 * width);
#endif
}
