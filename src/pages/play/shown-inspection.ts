/** The result of `inspect` for a file or directory, as tables. */
import { html } from "htm/preact";
import type { Inspection } from "../../checkpoints/inspect.ts";
import { inspectedGroups } from "../../checkpoints/inspection-groups.ts";
import { byteSize } from "../../api/byte-size.ts";

export function ShownInspection(inspection: Inspection) {
  const { modelType, tensors, bytes, mxfp4Bytes, loaders, formats } =
    inspection;
  return html`<section class="card" aria-label="Inspection">
    <h2>What is in it</h2>
    <p>
      ${modelType ?? "A model without config.json"}: ${tensors.length} tensors,
      ${" "}${byteSize(bytes)}, in MXFP4 ${byteSize(mxfp4Bytes)}
    </p>
    <div class="wide" tabindex="0" role="region" aria-label="Tensors">
      <table id="inspection">
        <thead>
          <tr>
            ${[
              "Tensor",
              "Dtype",
              "Shape",
              "Role",
              "Bytes",
              "In MXFP4",
              "Why",
            ].map((name) => html`<th scope="col">${name}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${inspectedGroups(tensors).map(
            (each, i) =>
              html`<tr key=${i}>
                <th scope="row">
                  ${each.tensors === 1 ? each.name : `${each.name} × ${each.tensors}`}
                </th>
                <td>${each.dtype}</td>
                <td>${each.shape.join(" × ")}</td>
                <td>${each.role}</td>
                <td>${byteSize(each.bytes)}</td>
                <td>${byteSize(each.mxfp4Bytes)}</td>
                <td>${each.reason}</td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>
    <ul>
      ${formats.map(
        ({ format, weights, example }) =>
          html`<li>${format}: ${weights} weights, as ${example}</li>`,
      )}
      ${loaders.map(
        ({ loader, packedTensors, bytes: own, refusals }) =>
          html`<li>
            <b>${loader}</b>: ${packedTensors} packed, ${byteSize(own)}
            ${refusals.map((text) => html`<span class="quiet"> ${text}</span>`)}
          </li>`,
      )}
    </ul>
  </section>`;
}
