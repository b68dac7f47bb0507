/**
 * The general categories of Unicode 16 that patterns of foreign tokenizers name; listed for the same reason as letters
 * and digits: in Unicode 17, U+0295 has another category.
 */
import {
  DIGITS,
  LETTERS,
  type Range,
  rangesIn,
  written,
} from "./character-classes.ts";

/** Encoded as `LETTERS`. */
const TABLES = {
  Lu: `
    1t,p 2u,m 2,6 y 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 3 2 2
    2 2 2 2 2 3 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2,1 2 2 4,1 2 2,1
    2,2 3,3 2,1 2,2 4,1 2,1 2 2 2,1 2 3 2,1 2,2 2 2,1 4 8 3 3 3 2 2 2 2 2 2 2 3
    2 2 2 2 2 2 2 2 3 3 2,2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
    2 2 2 8,1 2,1 3 2,3 2 2 2 2 82 2 4 9 7 2,2 2 2,1 2,g 2,8 10 3,2 4 2 2 2 2 2
    2 2 2 2 2 2 6 3 2,1 3,1e 1d 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 a 2 2 2 2 2 2 2
    2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2,1 2 2 2 2 2 2 3 2 2 2 2 2 2 2 2 2 2
    2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
    3,11 28a,11 2 6 k3,2d 1p0 7,16 3,2 8x 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
    2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
    2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 a 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
    2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 a,7 9,5 b,7 9,7 9,5
    c 2 2 2 9,7 21,3 d,3 d,3 d,4 c,3 7b 5 4,2 3,2 3 4,4 7 2 2 2,3 3,3 b,1 6 1q
    22l,1b 1d 2,2 3 2 2 2,3 2 3 9,2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
    2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 9 2 5 nym 2 2 2 2 2 2
    2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 k 2 2 2 2 2 2 2 2 2 2 2 2 2 3s 2 2 2 2 2 2 4
    2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 b 2 2,1 2 2 2 2
    5 2 3 2 4 2 2 2 2 2 2 2 2 2 2,4 2,4 2 2 2 2 2 2 2 2,3 2 2,1 4 6 2 2 2 p
    h7w,p xy,13 3t,z 4d,a 2,e 2,6 2,1 1d7,1e 4e,l 27v,v gw1,v k2p,p r,p r,p r
    2,1 3 3,1 3,3 2,7 r,p r,1 2,3 3,7 2,6 s,1 2,3 2,4 2 4,6 s,p r,p r,p r,p r,p
    r,p v,o y,o y,o y,o y,o y 3ee,x`,
  Ll: `
    2p,p 1n 16,n 2,7 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2,1 2
    2 2 2 2 2 2 2,1 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 3 2 2,2 3 2 3
    4,1 5 3 4,2 3 3 2 2 3 2,1 2 3 4 2 3,1 3,2 7 3 3 2 2 2 2 2 2 2 2,1 2 2 2 2 2
    2 2 2 2,1 3 2 4 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2,6
    3 3,1 2 5 2 2 2 2,1w 2,q 5e 2 4 4,2 j s,y 2,1 4,2 2 2 2 2 2 2 2 2 2 2 2 2,4
    2 3 3,1 1g,1b 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 a 2 2 2 2 2 2 2 2 2 2 2 2 2
    2 2 2 2 2 2 2 2 2 2 2 2 2 3 2 2 2 2 2 2,1 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
    2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 1d,14 288,16
    3,2 l5,5 1oj,8 2 3a,17 1s,c 2,x 2v 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
    2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
    2 2 2 2 2 2 2 2 2 2 2 2 2 2 2,8 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
    2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2,8 9,5 b,7 9,7 9,5 b,7
    9,7 9,d 3,7 9,7 9,7 9,4 2,1 7 4,2 2,1 9,3 3,1 9,7 b,2 2,1 7n 4,1 4 s 5 5 3,1
    9,3 5 1i 23w,1b 2 4,1 2 2 2 5 2,1 2,5 6 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
    2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2,1 8 2 5 d,11 2
    6 nx0 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 k 2 2 2 2 2 2 2 2 2 2 2 2
    2 3s 2 2 2 2 2 2,2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
    2 2 2,7 2 2 3 2 2 2 2 5 2 3 2,2 2 2 2 2 2 2 2 2 2 2 6 6 2 2 2 2 2 2 2 5 2 3
    4 2 2 2 2 2 r 4 mu,16 6,8 8,27 fnl,6 d,4 tm,p y6,13 3t,z 4c,a 2,e 2,6 2,1
    1dw,1e 3i,l 27v,v gw1,v k2j,p r,6 2,h r,p r,3 2 2,6 2,a r,p r,p r,p r,p r,p
    r,p r,p r,p r,r t,o 2,5 r,o 2,5 r,o 2,5 r,o 2,5 r,o 2,5 2 1f9,9 2,j 7,5
    1yw,x`,
  Lt: `
    cl 3 3 13 5ue,7 9,7 9,7 d g 1c`,
  Lm: `
    j4,h 5,b f,4 8 2 3q 6 db 6f 4l,1 7i,1 5 w a 4 4h 4o yd 3k fq 1cr 30 h0 cx,5
    4v,1q e z,10 j6 e h,c 2cg,1 6q 5c d2 18,4 6 2q,1 2m,2 lxz yr,5 7j 37 t,1
    3e,8 29 o 2y,2 4,1 d2 n 3u 31 m,1 2w,3 a glj 1a,1 1k1,5 2,15 2,8 13o x ij5,3
    e5,2 15,1 fb,c 1t,1 2 cnh,3 2,6 2,1 9iq,1p 5m,6 q6 v4`,
  M: `
    lc,33 7o,6 7c,18 2 2,1 2,1 2 21,a 1d,k h 2u,6 3,5 3,1 2,3 10 v,q 2k,a 1n,8 a
    p,3 2,8 2,2 2,4 18,2 1o,8 17,n 2,w 1j,2 2,h 2,6 b,1 u,2 1l 2,6 3,1 3,2 a b,1
    r 3,2 1l 2,4 5,1 3,2 4 v,1 4 c,2 1l 2,7 2,2 2,2 l,1 n,5 2,2 1l 2,6 3,1 3,2
    8,2 b,1 v 1o,4 4,2 2,3 a 15,4 1k 2,6 2,2 2,3 8,1 c,1 u,2 1l 2,6 2,2 2,3 8,1
    c,1 g d,3 1k,1 2,6 2,2 2,3 a b,1 u,2 1z 5,5 2 2,7 j,1 1q 3,6 d,7 2r 3,8 c,6
    22,1 s 2 2 5,1 1e,j 2,1 6,a 2,z a 2t,j o,3 5,2 2,2 3,6 4,3 e,b 2 b,3 jk,2
    qb,3 t,2 u,1 v,1 1t,v a 1a,2 2 3a,1 z 3b,b 5,b 64,4 1m,9 2,s 3 1d,u 1e,4
    1c,g 13,8 d,2 v,c 1l,d 1d,j 49,2 2,k 5 7 3,2 5j,1r k1,w 2db,2 3y 2p,v ff,5
    2y,1 n9x,3 2,9 x,1 29,1 7l 4 5 o,4 5 2c,1 1f,h r,h e 13,7 q,c 19,3 1c,d 11
    1w,d d 9,1 1a,2 1f 2,2 3,1 6,1 2 16,4 6,1 6l,7 2,1 fn5 ki,f h,f r2 6b 46,4
    1af,2 2,1 6,3 15,2 5 4m,1 fy,3 1u,4 8u,1 28,3 1z,a 1e,3 3f,2 1i,e 16 3,1 b,3
    1a,a 8 1q,2 11,d h,1 19 d,2 1d,d 9,3 2,1 2l,b 7 3 4e,b m,3 1k,1 2,6 3,1 3,2
    a b,1 3,6 4,4 1w,8 2 3 2,3 2,4 2 f,1 2b,h o 2a,j 6k,6 3,8 s,1 2b,g 2z,c 2u,e
    75,e 6u,5 2,1 3,3 2 2,1 3y,6 3,6 4 t,9 15,6 2,3 9 a,a 1b,f ba,7 2,7 2b,l 2,d
    3f,5 4 2,1 2,6 2 1v,4 2,1 2,4 9o,3 a,1 2 1d,6 4,4 o 44m 7,e 8uh,h 1xd,4 1o,6
    t5 2,1i 8,3 2a c,1 f58,1 3mq,19 3,m f3,4 4,5 9,7 3,6 v,3 45,2 1j0,1i 5,1d 9
    f n,4 2,e 11t,6 2,g 3,6 2,1 2,4 2t 4h,6 ag 1q,3 e5,3 73,1 kh,6 32,6 gzhy,6n`,
  Nd: `
    1c,9 17r,9 3r,9 5j,9 bh,9 3b,9 3b,9 3b,9 3b,9 3b,9 3b,9 3b,9 3b,9 3b,9 2p,9
    3b,9 1z,9 7r,9 1z,9 1fr,9 13,9 8d,9 3l,9 4n,9 7,9 53,9 2f,9 3r,9 7,9 r7r,9
    iv,9 13,9 5j,9 n,9 2f,9 bb,9 gev,9 13b,9 1on,9 7,9 m5,9 3l,9 1p,9 41,9 7r,9
    9j,9 3b,9 af,9 2v,9 7,j 25,9 br,9 2v,9 if,9 2f,9 6v,9 1z,9 br,9 d07,9 1t3,9
    2f,9 3r,9 ev,9 iuv,9 251,1d 1tt,9 br,9 dz,9 6w,9 nq,9 3o7,9`,
  P: `
    x,2 2,5 2,3 b,1 4,1 r,2 2 s 2 10 6 4 b,1 4 4 jj 9 cz,5 16,1 1g 2 3 3 19,1
    l,1 2,1 e 2,2 23,3 2v 18,d 6i,2 1j,e w 7a,1 b 3x 3d 3e av d a8 2j b,1 4p,e 2
    12,3 20 23,4 5,1 34,5 4s h1,8 48 ha 19,1 27,2 20,1 4e,2 2,2 12,a 8q,1 61,1
    3l,6 2,5 4h,1 b,6 t,2 3h,3 1o,4 1r,1 1t,7 c n1,n 9,j 2,c 2,b v,1 f,1 hm,3
    u,1 u6,d 28,1 w,9 b8,l 1s,3 x,1 l8,3 2,1 35 40,1a 2,v 3,b bo,2 5,9 3,b h d
    2r 2j mwz,1 7i,2 2s b 38,5 al,3 2f,1 15,2 2 1e,1 1c 2q,c h,1 3h,3 3j,1 h,1
    6y g2b,1 5t,9 n,y 2,d 2 5 2,1 46,2 2,5 2,3 b,1 4,1 r,2 2 s 2 2,6 bf,2 il 1d
    bj ko 5k w 7l,8 13 35,6 1v,6 2i,3 cy 8v 4o,4 19,3 5a,6 32,1 2,3 3j,3 1d,1
    28,3 5 e 2,2 2h,5 30 8b,1 2,1 37,4 b,1 2 2x 6z,m 2y,2 t,c 25 3n,2 71 7d,2 4c
    2l,7 2c,2 2,4 2m,9 60 2o,4 17,1 hy,1 23,c 4w vl,4 29p,1 bjw,1 3q 1u,4 9 fd,2
    88,3 94 f5p 5wo,4 29g nz,1`,
  S: `
    10 7 h,2 w 2 s 2 10,4 2,1 3 2,3 3 4 v w cr,3 d,d 6,6 2 2,g 3a f,1 35 3w 7f,2
    3b,2 3 3,1 5r b k,1 6w 8,1 3t a2,1 7,1 6u 3j 3n,7 3p 5s 16 5i 5e,2 g 2,2 3,5
    l 2 2 3q,7 2,5 2,1 6,3 5i,1 kx,9 k4 a6 9x 4e,x 9u,9 a,8 u9 2,2 c,2 e,2 e,2
    e,1 1y e 14,2 e,2 k,w 1s,1 2,3 2,1 b 2,2 6,5 2 2 2 5 c,1 5,4 6,3 2 1n,1 5,af
    5,s 3,72 n,a 2a,25 n,h3 19,1c 3,u b,b6 n,1q 5,v 3,ad 3,v 2,2w 6e,5 9y,1 1b,p
    2,2g d,5x r,f 5 e,1 d m,1 7,1 2k,1 6s,1 5,9 x,11 a h,u c,t 9 g,v b,12 g,8v
    535,1r h3l,1i fu,m a,1 2w,1 4e,3 b,3 fy,2 6a f,1 fr2 3t,g am,f 3k 19,3 2r
    2,2 3 4b 7 h,2 w 2 s 2 3m,6 2,6 e,1 8q,8 1m,g 3,2 2,c 4 1c,18 1a3,1 gg jq,1
    1ww 1p2,s evf,3 6 g2f 31g,6n h,c3 4d,37 1p,6t b,12 3,1n 6,2 n,1 8,t 5,1o
    m,1t 4 57,2e ob q w q w q w q w q 1p,e7 1k,3 1f,7 2,d 2,1 1c9 c0 1wt 4 3i
    ci,1 7j,17 5,2r d,e 3,e 2,e 2,10 o,4g 1l,s e,17 5,8 8,1 f,5 4b,rb 5,g 4,c
    4,3a 5,2m 7,b 5 g,b 5,1j 9,9 7,13 9,t 3,b 5,1 1r,9f d,d 3,c 4,9 6,1j 8,e 3,a
    7,8 8,42 2,2j`,
} as const;

const LAST_POINT = 0x10ffff;

const found = new Map<string, readonly Range[]>();

/**
 * `\p{name}` or its complement, as contents of a character class; undefined for classes that are not listed here, for
 * which the engine's are used.
 */
export function categoryClass(
  name: string,
  isNegated: boolean,
): string | undefined {
  const own = found.get(name) ?? rangesOf(name);
  if (own === undefined) return undefined;
  found.set(name, own);
  return written(isNegated ? complement(own) : own);
}

function rangesOf(name: string): readonly Range[] | undefined {
  if (name === "L") return rangesIn(LETTERS);
  if (name === "N") return rangesIn(DIGITS);
  if (Object.hasOwn(TABLES, name))
    return rangesIn(TABLES[name as keyof typeof TABLES]);
  if (name !== "Lo") return undefined;
  // Letters that are in none of the other categories.
  const { Lu, Ll, Lt, Lm } = TABLES;
  const others = [Lu, Ll, Lt, Lm].flatMap((table) => rangesIn(table));
  return complement([...others, ...complement(rangesIn(LETTERS))]);
}

/** `ranges` in any order. */
function complement(ranges: readonly Range[]): Range[] {
  const rest: Range[] = [];
  let next = 0;
  for (const [first, last] of ranges.toSorted(([a], [b]) => a - b)) {
    if (next < first) rest.push([next, first - 1]);
    next = last + 1;
  }
  if (next <= LAST_POINT) rest.push([next, LAST_POINT]);
  return rest;
}
