/**
 * Which addresses a job may read: https, of hosts that are listed, and never of a private network, whatever
 * the spelling: `URL` writes every form of an IPv4 address as four decimals. On this machine, in local mode,
 * a loopback address that is listed may be read, by http too.
 */
import { invalidOption, shown } from "../../api/option-kinds.ts";

export type UrlBindings = {
  /** Hosts with commas between, `*.` before those that stand for all below them. */
  SOURCE_HOSTS?: string;
  LOCAL_MODE?: string;
};

/** Errors: `invalid_option` */
export function checkSourceUrl(
  text: string,
  { SOURCE_HOSTS = "", LOCAL_MODE }: UrlBindings,
): URL {
  if (!URL.canParse(text))
    throw invalidOption("`url` to be a URL", shown(text));
  const url = new URL(text);
  if (url.username || url.password)
    throw invalidOption(
      "`url` without a name and a password, in place of which `token` stands",
      "one with them",
    );
  const host = url.hostname.replace(/\.$/, "");
  const listed = SOURCE_HOSTS.split(",").map((each) => each.trim());
  const isLoopback = LOCAL_MODE === "1" && /^127\.|^\[::1\]$/.test(host);
  if (isLoopback && listed.includes(host) && /^https?:$/.test(url.protocol))
    return url;
  if (url.protocol !== "https:")
    throw invalidOption("`url` to be of https", shown(url.protocol));
  if (isAddress(host) || isLocalName(host))
    throw invalidOption("`url` of a public host by its name", shown(host));
  if (!listed.some((each) => isOf(host, each)))
    throw invalidOption(
      `\`url\` of a host that SOURCE_HOSTS has: ${listed.join(", ") || "none"}`,
      shown(host),
    );
  return url;
}

/** A number in the place of a name: its network says nothing of whose it is. */
function isAddress(host: string): boolean {
  return host.startsWith("[") || /^[\d.]+$/.test(host);
}

/** What no name server of the internet answers for. */
function isLocalName(host: string): boolean {
  return (
    !host.includes(".") ||
    /\.(localhost|local|internal|intranet|lan|home|corp|private|arpa|test|example|invalid|onion)$/.test(
      host,
    )
  );
}

function isOf(host: string, listed: string): boolean {
  return listed.startsWith("*.")
    ? host.endsWith(listed.slice(1))
    : listed !== "" && host === listed;
}
