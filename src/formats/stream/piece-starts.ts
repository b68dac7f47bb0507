/** Where each piece begins, of pieces that are asked for in order, from any one on. */
export function startsOf(
  sizeOf: (piece: number) => number,
): (piece: number) => number {
  let [piece, start] = [0, 0];
  return (wanted) => {
    for (; piece < wanted; piece++) start += sizeOf(piece);
    return start;
  };
}
