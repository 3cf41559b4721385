/* C = A B by the package's register tiles, for two layouts of all three matrices.
 *
 * ROW_MAJOR defined: rows one after the other, and a step down B goes B_STEP = O scalars further.
 * else: column panels, as in the package. tile.cl is included before, with its step down B replaced by B_STEP.
 * N is a multiple of ROWS, I and O of WIDTH.
 */
kernel void product(global const scalar *A, global const scalar *B, global scalar *C, int N, int I, int O) {
    const int row_tiles = N / ROWS, tile_number = get_global_id(0);
    const int n0 = tile_number % row_tiles * ROWS, o0 = tile_number / row_tiles * PANEL;
    const int width = panel_width(o0, O), vectors = width / WIDTH;
    const global scalar *a[ROWS];
    real tile[ROWS * COLUMNS];
    for (int i = 0; i < ROWS * vectors; i++) tile[i] = 0;
#ifdef ROW_MAJOR
    for (int r = 0; r < ROWS; r++) a[r] = A + (size_t)(n0 + r) * I;
    multiply(vectors, a, B + o0, I, tile);
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < vectors; j++)
            store(tile[r * vectors + j], C + (size_t)(n0 + r) * O + o0 + j * WIDTH);
#else
    const global scalar *b = B + (size_t)o0 * I;
    for (int k = 0; k < I; k += PANEL) {
        const int a_width = panel_width(k, I), count = min(PANEL, I - k);
        for (int r = 0; r < ROWS; r++) a[r] = A + (size_t)k * N + (size_t)(n0 + r) * a_width;
        multiply(vectors, a, b, count, tile);
        b += (size_t)count * vectors * WIDTH;
    }
    for (int i = 0; i < ROWS * vectors; i++) store(tile[i], C + (size_t)o0 * N + (size_t)n0 * width + i * WIDTH);
#endif
}
