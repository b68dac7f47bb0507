/**
 * Which URLs a job may read: https, on listed hosts, and never in a private network, however the address is written
 * (`URL` normalizes every form of IPv4). In local mode, listed loopback addresses are allowed too, also by http.
 */
import { invalidOption, shown } from "../../api/option-kinds.ts";

export type UrlBindings = {
  /** Comma-separated hosts; `*.` before a host stands for all its subdomains. */
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
      "`url` without user name and password (use `token` instead)",
      "one with them",
    );
  const host = url.hostname.replace(/\.$/, "");
  const listed = SOURCE_HOSTS.split(",").map((each) => each.trim());
  const isLoopback = LOCAL_MODE === "1" && /^127\.|^\[::1\]$/.test(host);
  if (isLoopback && listed.includes(host) && /^https?:$/.test(url.protocol))
    return url;
  if (url.protocol !== "https:")
    throw invalidOption("`url` to use https", shown(url.protocol));
  if (isAddress(host) || isLocalName(host))
    throw invalidOption("`url` with the name of a public host", shown(host));
  if (!listed.some((each) => isOf(host, each)))
    throw invalidOption(
      `\`url\` with a host listed in SOURCE_HOSTS (${listed.join(", ") || "none"})`,
      shown(host),
    );
  return url;
}

/** An IP address, which does not say whose host it is. */
function isAddress(host: string): boolean {
  return host.startsWith("[") || /^[\d.]+$/.test(host);
}

/** A name that public DNS does not resolve. */
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
