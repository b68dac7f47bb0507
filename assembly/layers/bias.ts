/**
 * Sets every row of `out` to `bias`, to which a linear layer's GEMM then adds its products.
 *
 * Shapes:   out f32 [rows, columns]; bias f32 [columns]
 */
export function biasForwardF32(out: usize, bias: usize, rows: i32, columns: i32): void {
  assert(rows >= 0 && columns >= 0, "sizes must not be negative");

  const rowBytes = <usize>columns << 2;
  for (let row = 0; row < rows; row++) {
    memory.copy(out, bias, rowBytes);
    out += rowBytes;
  }
}

/**
 * dBias[j] += Σ dOut[row, j], rows in order.
 *
 * Shapes:   dBias f32 [columns]; dOut f32 [rows, columns]
 */
export function biasBackwardF32(dBias: usize, dOut: usize, rows: i32, columns: i32): void {
  assert(rows >= 0 && columns >= 0, "sizes must not be negative");

  const rowBytes = <usize>columns << 2;
  const whole = columns & ~3;
  let row = 0;
  if (whole == columns) {
    // Four rows per load and store of the sums.
    for (; row + 4 <= rows; row += 4, dOut += 3 * rowBytes) {
      for (const end = dOut + rowBytes; dOut < end; dOut += 16, dBias += 16) {
        let sum = f32x4.add(v128.load(dBias), v128.load(dOut));
        sum = f32x4.add(sum, v128.load(dOut + rowBytes));
        sum = f32x4.add(sum, v128.load(dOut + 2 * rowBytes));
        v128.store(dBias, f32x4.add(sum, v128.load(dOut + 3 * rowBytes)));
      }
      dBias -= rowBytes;
    }
  }
  for (; row < rows; row++) {
    for (let j = 0; j < whole; j += 4) {
      const at = <usize>j << 2;
      v128.store(dBias + at, f32x4.add(v128.load(dBias + at), v128.load(dOut + at)));
    }
    for (let j = whole; j < columns; j++) {
      const at = <usize>j << 2;
      store<f32>(dBias + at, load<f32>(dBias + at) + load<f32>(dOut + at));
    }
    dOut += rowBytes;
  }
}
