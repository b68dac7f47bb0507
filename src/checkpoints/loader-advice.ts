/** Which schemes loaders support, and the best one for the tensors that each loads. */
import { AppError } from "../api/errors.ts";
import { withDefaults } from "../api/option-kinds.ts";
import { SELECTION_OPTIONS } from "../api/options.ts";
import { type Loader, SCALE_RULES } from "../api/scheme.ts";
import type { AnalyzeModelOptions, LoaderAdvice } from "../api/tensors.ts";
import { checkScheme } from "../formats/blocks/block-formats.ts";
import { notPlain, schemeOf } from "../formats/blocks/scheme.ts";
import { figures } from "../formats/operations/analysis-figures.ts";
import type { Advise } from "../formats/operations/analysis-report.ts";
import type { NamedScheme } from "../formats/operations/judge.ts";
import { namedSchemes } from "../formats/operations/named-schemes.ts";
import type { Selection } from "../formats/operations/name-patterns.ts";
import { LOADED_FORMAT } from "./targets.ts";

export type TakenByLoader = {
  loader: Loader;
  indices: number[];
  refusal: string | null;
};

export function advice(
  taken: readonly TakenByLoader[],
  refused: Refused,
): Advise {
  return (judge) => ({
    loaders: taken.map(({ loader, indices, refusal }): LoaderAdvice => {
      const names = judge.schemes.map(({ name }) => name);
      const { recommended } = figures(judge.sum(indices), names);
      return { loader, tensors: indices.length, recommended, refusal };
    }),
    refused: [...refused],
  });
}

export function selectionOf(options: AnalyzeModelOptions): Selection {
  return withDefaults(SELECTION_OPTIONS, options);
}

type Refused = readonly { scheme: string; reason: string }[];

/** The requested schemes that loaders support; by default, all scale rules. */
export function modelSchemes(options: AnalyzeModelOptions): {
  schemes: NamedScheme[];
  refused: Refused;
} {
  const { compare, scale, preset } = options;
  const isOne = scale !== undefined || preset !== undefined;
  const base = schemeOf(options);
  // Scale rule mse is for nearest rounding only.
  const rules = SCALE_RULES.filter(
    (rule) => rule !== "mse" || base.rounding !== "stochastic",
  ).map((rule) => `scale=${rule}`);
  const all = namedSchemes(options, compare ?? (isOne ? undefined : rules));
  for (const { scheme } of all) checkScheme(scheme);
  const reasonOf = ({ scheme }: NamedScheme): string | undefined => {
    if (scheme.format !== LOADED_FORMAT)
      return `loaders take mxfp4 of a model, not ${scheme.format}`;
    return notPlain(scheme, false)[0];
  };
  const schemes = all.filter((each) => reasonOf(each) === undefined);
  const refused = all.flatMap((each) => {
    const reason = reasonOf(each);
    return reason === undefined ? [] : [{ scheme: each.name, reason }];
  });
  if (schemes.length > 0) return { schemes, refused };
  throw new AppError(
    "invalid_option",
    `Expected a scheme that a loader undoes, got ${refused.map(({ scheme, reason }) => `"${scheme}" (${reason})`).join(", ")}`,
  );
}
