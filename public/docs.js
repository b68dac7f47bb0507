// Swagger UI has dark colours for a page of this class.
const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = () =>
  document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", colour);
colour();

// To resolve the references of what is opened, Swagger UI takes the whole description apart each time, which is most of
// what opening costs. An operation alone, with the components that it leads to, comes to the same.
function partOf(spec, path) {
  const [first, second, ...rest] = path;
  if (first === "components" && second !== "securitySchemes")
    return { ...spec, paths: {} };
  const components = { securitySchemes: spec.components.securitySchemes };
  if (first === "components") return { ...spec, paths: {}, components };
  if (first !== "paths" || rest.length !== 1) return spec;
  const operation = spec.paths[second][rest[0]];
  const take = (node) => {
    const references = JSON.stringify(node).matchAll(
      /"\$ref":"#\/components\/(\w+)\/(\w+)"/g,
    );
    for (const [, kind, name] of references) {
      components[kind] ??= {};
      if (name in components[kind]) continue;
      components[kind][name] = spec.components[kind][name];
      take(components[kind][name]);
    }
  };
  take(operation);
  const paths = { [second]: { [rest[0]]: operation } };
  return { ...spec, paths, components };
}
const resolveParts = () => ({
  afterLoad({ fn }) {
    const { resolveSubtree } = fn;
    fn.resolveSubtree = (spec, path, options) =>
      resolveSubtree(partOf(spec, path), path, options);
  },
});

// The API's description, from this very server and nowhere else.
SwaggerUIBundle({
  plugins: [resolveParts],
  dom_id: "#docs",
  url: "/openapi.json",
  validatorUrl: null,
  onComplete() {
    // Beneath the page's own heading, and parts of it like its operations.
    const say = (part, attributes) => {
      const element = document.querySelector(`#docs ${part}`);
      for (const [name, value] of Object.entries(attributes))
        element.setAttribute(name, value);
    };
    say(".info .title", { role: "heading", "aria-level": "2" });
    say(".information-container", { role: "region", "aria-label": "About" });
    say(".scheme-container", { role: "region", "aria-label": "Access" });
  },
});

// Its forms name their fields, and its tables themselves, for the eye alone; and a keyboard would not scroll its texts.
const docs = document.querySelector("#docs");
const nameFields = () => {
  for (const row of docs.querySelectorAll("tr[data-param-name]"))
    for (const field of row.querySelectorAll(
      ":is(input, select, textarea):not([aria-label])",
    ))
      field.setAttribute("aria-label", row.dataset.paramName);
  for (const field of docs.querySelectorAll(".examples-select-element"))
    field.setAttribute("aria-label", "Example");
  for (const table of docs.querySelectorAll(".responses-table[id]"))
    table.setAttribute("aria-label", table.id.replaceAll("_", " "));
  for (const text of docs.querySelectorAll("pre.microlight"))
    text.setAttribute("tabindex", "0");
  // All of one name, whichever token they take.
  const tokens = docs.querySelectorAll(".dialog-ux form");
  for (const [i, form] of tokens.entries()) {
    const field = form.querySelector("input");
    const [scheme] = form.querySelector("h4").innerText.split(/\s/);
    field?.setAttribute("aria-label", scheme);
    field?.setAttribute("id", `token-${i}`);
    form.querySelector("label")?.setAttribute("for", `token-${i}`);
    form.querySelector(".modal-btn.auth")?.removeAttribute("aria-label");
  }
  docs
    .querySelector(".dialog-ux .close-modal")
    ?.setAttribute("aria-label", "Close");
};
// Its dialog begins at the last field; what has the focus there goes with a token that is taken, and nobody gives it back
// to what opened the dialog.
let opener;
let wasOpen = false;
docs.addEventListener(
  "click",
  ({ target }) => {
    if (!docs.querySelector(".dialog-ux")) opener = target.closest("button");
  },
  true,
);
const keepFocus = () => {
  const dialog = docs.querySelector(".dialog-ux");
  const isLost = document.activeElement === document.body;
  if (dialog && !wasOpen) dialog.querySelector("input")?.focus();
  else if (dialog && isLost) dialog.querySelector(".btn-done")?.focus();
  else if (wasOpen && isLost)
    (opener?.isConnected
      ? opener
      : docs.querySelector(".btn.authorize")
    ).focus();
  wasOpen = dialog !== null;
};
// Once a frame, however much of it changes.
let frame;
new MutationObserver(() => {
  frame ??= requestAnimationFrame(() => {
    frame = undefined;
    nameFields();
    keepFocus();
  });
}).observe(docs, { childList: true, subtree: true });
