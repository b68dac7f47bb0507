/**
 * `fetch` by `node:http`, for trainers: pushing half a megabyte costs a third of the CPU time of `fetch`, whose bodies
 * are streams of objects, and pulling parameters two thirds.
 *
 * Anything but a plain request and answer (a streamed body, a redirect, a compressed answer) uses `fetch`.
 */
import { Agent, type IncomingMessage, request } from "node:http";
import { Agent as SecureAgent, request as secureRequest } from "node:https";
import { Readable } from "node:stream";
import type { Fetcher } from "../client/http.ts";

const KEPT = { keepAlive: true };

export class NodeFetcher implements Fetcher {
  readonly isNetwork = true;
  readonly #agent = new Agent(KEPT);
  readonly #secureAgent = new SecureAgent(KEPT);

  /** Rejects if no answer begins, like `fetch`. A signal aborts until then. */
  async fetch(url: string, init: RequestInit = {}): Promise<Response> {
    const { body } = init;
    const isPlain = typeof body === "string" || body instanceof Uint8Array;
    if (body && !isPlain) return fetch(url, init);
    const message = await this.#send(url, init, isPlain ? body : undefined);
    const status = message.statusCode!;
    const isRedirect =
      status >= 300 && status < 400 && message.headers.location;
    if (!isRedirect && !message.headers["content-encoding"])
      return new MessageResponse(message, status);
    message.destroy();
    return fetch(url, init);
  }

  #send(
    url: string,
    { method, headers, signal }: RequestInit,
    body: string | Uint8Array | undefined,
  ): Promise<IncomingMessage> {
    const isSecure = url.startsWith("https:");
    const { promise, resolve, reject } =
      Promise.withResolvers<IncomingMessage>();
    const sent = (isSecure ? secureRequest : request)(
      url,
      {
        method: method ?? "GET",
        agent: isSecure ? this.#secureAgent : this.#agent,
        headers: {
          ...Object.fromEntries(new Headers(headers)),
          ...(body !== undefined && {
            "content-length": Buffer.byteLength(body),
          }),
        },
      },
      resolve,
    );
    const stop = (): void => {
      sent.destroy(signal!.reason as Error);
    };
    signal?.addEventListener("abort", stop);
    if (signal?.aborted) stop();
    sent.on("error", reject);
    sent.end(body);
    return promise.finally(() => signal?.removeEventListener("abort", stop));
  }
}

/** An answer whose body is read directly from the socket; `body` converts it to a stream. */
class MessageResponse extends Response {
  readonly #message: IncomingMessage;
  #stream: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;

  constructor(message: IncomingMessage, status: number) {
    const { statusMessage: statusText = "", headers } = message;
    const told = Object.entries(headers).map(
      ([name, value]): [string, string] => [name, String(value)],
    );
    super(null, { status, statusText, headers: told });
    this.#message = message;
  }

  override get body(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#stream ??= Readable.toWeb(this.#message) as unknown as ReadableStream<
      Uint8Array<ArrayBuffer>
    >;
    return this.#stream;
  }

  override get bodyUsed(): boolean {
    return this.#message.readableDidRead;
  }

  /** The whole body. Rejects if it breaks off. */
  override async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    const declared = this.headers.get("content-length");
    if (declared === null) {
      const pieces: Uint8Array[] = await this.#message.toArray();
      return new Uint8Array(Buffer.concat(pieces));
    }
    const bytes = new Uint8Array(Number(declared));
    let length = 0;
    for await (const piece of this.#message as AsyncIterable<Uint8Array>) {
      bytes.set(piece, length);
      length += piece.length;
    }
    return bytes;
  }

  override async arrayBuffer(): Promise<ArrayBuffer> {
    return (await this.bytes()).buffer;
  }

  override async blob(): Promise<Blob> {
    return new Blob([await this.bytes()]);
  }

  override async text(): Promise<string> {
    return new TextDecoder().decode(await this.bytes());
  }

  override async json<T>(): Promise<T> {
    return JSON.parse(await this.text()) as T;
  }

  override formData(): Promise<never> {
    throw new Error("Expected an answer that is no form, got one");
  }

  override clone(): never {
    throw new Error("Expected one reader of an answer, got two");
  }
}
