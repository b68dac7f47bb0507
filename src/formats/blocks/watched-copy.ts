/** Copies floats unchanged, and checks them for non-finite values. */
import { dtypeBytes, type FloatDtype, isFloat } from "../dtype.ts";
import type { Section } from "../stream/conversion.ts";
import { startsOf } from "../stream/piece-starts.ts";
import {
  copied,
  copiedTensor,
  type Written,
} from "../stream/tensor-sections.ts";
import type { TensorRange } from "../tensor.ts";
import { floatValues, type Watch } from "./nonfinite.ts";

/** Copies bytes; `watch` is called for the non-finite floats among them. */
export function watchedCopy(
  { name, shape, dtype, start, end }: TensorRange,
  watch: Watch | undefined,
): Section {
  const section = copied(end - start);
  if (!watch || !isFloat(dtype)) return section;
  const startOf = startsOf(
    (piece) => section.pieceBytes(piece) / dtypeBytes(dtype, 1),
  );
  return {
    ...section,
    convert(piece, bytes) {
      if (hasNonfinite(bytes, dtype)) {
        const first = startOf(piece);
        floatValues(bytes, dtype).forEach((value, i) => {
          if (Number.isFinite(value)) return;
          watch({ tensor: name, shape, element: first + i, what: `${value}` });
        });
      }
      return section.convert(piece, bytes);
    },
  };
}

/** A tensor copied and checked. */
export function watchedTensor(
  tensor: TensorRange,
  watch: Watch | undefined,
): Written {
  return { ...copiedTensor(tensor), open: () => watchedCopy(tensor, watch) };
}

/** Exponent bits in two consecutive 32-bit words; a value is non-finite if all of its are set. */
const EXPONENTS: Record<FloatDtype, readonly [even: number, odd: number]> = {
  F64: [0, 0x7ff00000],
  F32: [0x7f800000, 0x7f800000],
  F16: [0x7c007c00, 0x7c007c00],
  BF16: [0x7f807f80, 0x7f807f80],
};
/** Added to an exponent, carries into the sign if all exponent bits are set. */
const CARRIES: typeof EXPONENTS = {
  F64: [0, 0x00100000],
  F32: [0x00800000, 0x00800000],
  F16: [0x04000400, 0x04000400],
  BF16: [0x00800080, 0x00800080],
};
const SIGNS = { F64: 1 << 31, F32: 1 << 31, F16: 0x80008000, BF16: 0x80008000 };

/** Checks two words at a time; an incomplete word is padded with zeros, which are finite. */
function hasNonfinite(bytes: Uint8Array, dtype: FloatDtype): boolean {
  const isWhole = bytes.length % 8 === 0 && bytes.byteOffset % 4 === 0;
  const [at, length] = isWhole
    ? [bytes, bytes.length / 4]
    : [padded(bytes), Math.ceil(bytes.length / 8) * 2];
  const words = new Uint32Array(at.buffer, at.byteOffset, length);
  const [even, odd] = EXPONENTS[dtype];
  const [carryEven, carryOdd] = CARRIES[dtype];
  let carried = 0;
  for (let i = 0; i < length; i += 2)
    carried |=
      ((words[i]! & even) + carryEven) | ((words[i + 1]! & odd) + carryOdd);
  return (carried & SIGNS[dtype]) !== 0;
}

function padded(bytes: Uint8Array): Uint8Array {
  const words = new Uint8Array(Math.ceil(bytes.length / 8) * 8);
  words.set(bytes);
  return words;
}
