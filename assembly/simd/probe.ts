/**
 * 1 if `relaxed_madd` rounds once, 0 if it rounds twice. The result of a GEMM depends on it, so machines of both
 * kinds cannot train in the same run.
 *
 * The operands come from memory, so that no compiler folds the answer: (1 + 2^−12)² − (1 + 2^−11) is 2^−24 exactly,
 * which a product rounded to f32 loses.
 */
export function fusesMadd(): i32 {
  const operands = memory.data<f32>([1.000244140625, -1.00048828125]);
  const a = v128.load32_splat(operands);
  const c = v128.load32_splat(operands, 4);
  return <i32>(f32x4.extract_lane(f32x4.relaxed_madd(a, a, c), 0) != 0);
}
