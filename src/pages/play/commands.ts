/** Commands that get the page's figures and file from the API. */
import { computed } from "@preact/signals";
import { writeQuery } from "../../api/option-text.ts";
import { ANALYZE_OPTIONS, QUANTIZE_OPTIONS } from "../../api/options.ts";
import { schemeOf } from "../../formats/blocks/scheme.ts";
import { service } from "../shell/access.ts";
import { comparedSchemes } from "./compared-schemes.ts";
import { chosenFile, chosenTensor, scheme } from "./settings.ts";

/** Name of the file to send. */
export const sentFile = computed(() => chosenFile.value ?? "drawn.safetensors");

/** Name of the quantized file. */
export const madeFile = computed(
  () =>
    `${schemeOf(scheme.value).format}-${sentFile.value.replace(/\.npy$/, ".safetensors")}`,
);

export const commands = computed(() => {
  const name = chosenTensor.value;
  const figures = writeQuery(ANALYZE_OPTIONS, {
    ...scheme.value,
    compare: comparedSchemes(scheme.value),
    // A pattern cannot be empty.
    ...(name && { include: [patternOf(name)] }),
  });
  const file = writeQuery(QUANTIZE_OPTIONS, scheme.value);
  const token =
    service.value?.access === "token"
      ? ' -H "Authorization: Bearer $MXFP4_EDGE_TOKEN"'
      : "";
  const curl = `curl -sS --fail-with-body --data-binary ${quoted(`@${sentFile.value}`)} -H 'Content-Type: application/octet-stream'${token}`;
  const { origin } = location;
  return {
    analyze: `${curl} ${quoted(`${origin}/v1/analyze${figures}`)}`,
    quantize: `${curl} -o ${quoted(madeFile.value)} ${quoted(`${origin}/v1/quantize${file}`)}`,
  };
});

/** Commas separate patterns, and a star matches any characters: replaced by ?, which matches one. */
function patternOf(name: string): string {
  return name.replace(/[,*]/g, "?");
}

/** Quoted for a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
