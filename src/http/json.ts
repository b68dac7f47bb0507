/** A JSON response with Content-Length, which the request log reports. */
const encoder = new TextEncoder();

export function json(
  value: unknown,
  status = 200,
  type = "application/json",
): Response {
  const body = encoder.encode(JSON.stringify(value));
  return new Response(body, {
    status,
    headers: { "Content-Type": type, "Content-Length": `${body.length}` },
  });
}
