/**
 * The sums of one tile of an integer GEMM, 4 rows × 8 columns: f32 [4, 2, 4], by turn t, strip j and lane, as in
 * mxfp4-dot.ts. In memory, since the dot product's accumulators take the registers.
 */

// @ts-ignore: decorator
@inline const TILE: usize = memory.data(128, 64);
// @ts-ignore: decorator
@inline const ORIGIN: usize = memory.data<u32>([0]);
// @ts-ignore: decorator
@inline export const TILE_BYTES: usize = 128;
/** Bytes of a row of the tile after `storeRows`. */
// @ts-ignore: decorator
@inline const TILE_ROW_BYTES: usize = 32;

/**
 * TILE, as an address unknown at compile time. V8 (13.6) only merges adjacent vectors to 256 bits if their addresses
 * are one base and two offsets; of two constants it may take the wrong one.
 */
// @ts-ignore: decorator
@inline
export function tileAddress(): usize {
  return TILE + load<usize>(ORIGIN);
}

/** Initializes all rows with `start0`, `start1`: in every turn, a lane of the tile is the same column. */
// @ts-ignore: decorator
@inline
export function startTile(tile: usize, start0: v128, start1: v128): void {
  v128.store(tile, start0);
  v128.store(tile, start1, 16);
  v128.store(tile, start0, 32);
  v128.store(tile, start1, 48);
  v128.store(tile, start0, 64);
  v128.store(tile, start1, 80);
  v128.store(tile, start0, 96);
  v128.store(tile, start1, 112);
}

/** Stores the tile times the factor at row i, column j of out [m, n], as far as it lies inside. */
export function storeTile(tile: usize, out: usize, i: i32, j: i32, m: i32, n: i32, factor: f32): void {
  const to = out + ((<usize>i * <usize>n + <usize>j) << 2);
  if (i + 4 <= m && j + 8 <= n) storeRows(tile, to, <usize>n << 2, factor);
  else storeEdge(tile, to, min(4, m - i), min(8, n - j), n, factor);
}

/** Stores the tile's diagonals as rows, times the factor. `to` may be the tile itself. */
// @ts-ignore: decorator
@inline
function storeRows(tile: usize, to: usize, rowBytes: usize, factor: f32): void {
  const factors = f32x4.splat(factor);
  for (const end = tile + TILE_ROW_BYTES; tile < end; tile += 16, to += 16) {
    const t0 = f32x4.mul(v128.load(tile), factors);
    const t1 = f32x4.mul(v128.load(tile, 32), factors);
    const t2 = f32x4.mul(v128.load(tile, 64), factors);
    const t3 = f32x4.mul(v128.load(tile, 96), factors);
    v128.store(to, diagonal(t0, t3, t2, t1));
    v128.store(to + rowBytes, diagonal(t1, t0, t3, t2));
    v128.store(to + 2 * rowBytes, diagonal(t2, t1, t0, t3));
    v128.store(to + 3 * rowBytes, diagonal(t3, t2, t1, t0));
  }
}

/** A tile that extends over the edge of `out`. */
function storeEdge(tile: usize, to: usize, rows: i32, columns: i32, n: i32, factor: f32): void {
  storeRows(tile, tile, TILE_ROW_BYTES, factor);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const value = load<f32>(tile + (<usize>(8 * row + column) << 2));
      store<f32>(to + ((<usize>row * <usize>n + <usize>column) << 2), value);
    }
  }
}

/** x = factors · x + tile, row by row. x f32 [4, 8], rows `rowBytes` apart; factors f32 [4] */
// @ts-ignore: decorator
@inline
export function addTile(tile: usize, x: usize, rowBytes: usize, factors: usize): void {
  for (const end = tile + TILE_ROW_BYTES; tile < end; tile += 16, x += 16) {
    const t0 = v128.load(tile);
    const t1 = v128.load(tile, 32);
    const t2 = v128.load(tile, 64);
    const t3 = v128.load(tile, 96);
    addRow(x, factors, diagonal(t0, t3, t2, t1));
    addRow(x + rowBytes, factors + 4, diagonal(t1, t0, t3, t2));
    addRow(x + 2 * rowBytes, factors + 8, diagonal(t2, t1, t0, t3));
    addRow(x + 3 * rowBytes, factors + 12, diagonal(t3, t2, t1, t0));
  }
}

// @ts-ignore: decorator
@inline
function addRow(x: usize, factor: usize, added: v128): void {
  v128.store(x, f32x4.add(f32x4.mul(v128.load32_splat(factor), v128.load(x)), added));
}

/** [a0, b1, c2, d3] */
// @ts-ignore: decorator
@inline
function diagonal(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i32x4.shuffle(a, b, 0, 5, 2, 7);
  const cd = i32x4.shuffle(c, d, 0, 5, 2, 7);
  return i64x2.shuffle(ab, cd, 0, 3);
}
