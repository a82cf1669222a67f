// The address is the state: every screen reads from it, and every choice is written to it.
import { computed, signal } from "@preact/signals";
import { holds, home, exportedFile } from "./exportedFile";

// A file has one path of its own, so there the address stands behind its #.
const split = (to: string) => ({ path: to.split("?")[0] as string, query: to.includes("?") ? to.slice(to.indexOf("?")) : "" });
const hash = () => location.hash.slice(1);
const here = () => (home === null ? { path: location.pathname, query: location.search } : split(holds(hash()) ? hash() : home));
const address = signal(here());

export const path = computed(() => address.value.path);
export const query = computed(() => new URLSearchParams(address.value.query));

addEventListener("popstate", () => {
  // In a file, #page and the like are jumps within the page.
  if (exportedFile && hash() && !hash().startsWith("/")) return;
  address.value = here();
});

/** Go to an address of the atlas; `replace` leaves no step for the back button. */
export function go(to: string, replace = false): void {
  const from = address.peek();
  if (to === from.path + from.query || (exportedFile && !holds(to))) return;
  try {
    history[replace ? "replaceState" : "pushState"](null, "", exportedFile ? `#${to}` : to);
  } catch (refused) {
    // A file shown inside another page may have no address of its own; its state then lasts as long as it is shown.
    if (!exportedFile) throw refused;
  }
  address.value = exportedFile ? split(to) : here();
  const moved = address.peek().path !== from.path;
  if (moved) {
    scrollTo(0, 0);
    // A screen reader announces the new title; the tab order starts again at the page's top.
    queueMicrotask(() => document.getElementById("page")?.focus({ preventScroll: true }));
  }
}

/** Parameters with their new values; a list for one that is repeated, null for one that is taken away. */
export type Change = Record<string, string | string[] | null>;

/** Return parameters with some of them changed. */
export function changed(before: URLSearchParams, changes: Change): URLSearchParams {
  const next = new URLSearchParams(before);
  for (const [name, value] of Object.entries(changes)) {
    next.delete(name);
    for (const one of Array.isArray(value) ? value : value ? [value] : []) next.append(name, one);
  }
  return next;
}

/** Return parameters as text; a unit's key stays readable. */
export function spelt(parameters: URLSearchParams): string {
  const text = parameters.toString().replace(/%(2F|3A|2C|40)/g, decodeURIComponent);
  return text && `?${text}`;
}

/** Return the present address with some parameters changed. */
export function withQuery(changes: Change): string {
  return path.value + spelt(changed(query.value, changes));
}

/** Follow links within the atlas without loading the page again. */
export function follow(event: MouseEvent): void {
  const link = (event.target as Element).closest?.("a");
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || link.target || event.defaultPrevented) return;
  if (exportedFile) {
    const to = link.getAttribute("href") ?? "";
    if (!to.startsWith("/")) return;
    event.preventDefault();
    return go(to);
  }
  if (link.origin !== location.origin) return;
  if (link.pathname.startsWith("/api/") || link.hasAttribute("download")) return;
  // A jump within the page is the browser's own business.
  if (link.hash && link.pathname === location.pathname && link.search === location.search) return;
  event.preventDefault();
  go(link.pathname + link.search);
}

/** Return the address of a unit's page. Slashes are part of the key. */
export function unitAddress(key: string): string {
  return `/units/${key.split("/").map(encodeURIComponent).join("/")}`;
}

/** Return a key without its subject, which is the same for all of an atlas. */
export function local(key: string): string {
  const parts = key.split("/");
  return parts.length === 4 ? parts.slice(1).join("/") : key;
}

/** Return where a unit stands and its number; a place says its basis where it is not that of the neurons. */
export function named(key: string): { place: string; index: string } {
  const [site = "", basis = "", index = ""] = key.split("/").slice(-3);
  return { place: basis === "neurons" ? site : `${site} ${basis === "heads" ? "head" : basis}`, index };
}

/** Return the address of an explained answer, with a node chosen. */
export function graphAddress(id: string, select?: string): string {
  return `/graphs/${encodeURIComponent(id)}${select ? spelt(new URLSearchParams({ select: local(select) })) : ""}`;
}

/** What each site is called where one is chosen: with its basis where several have units there. */
export function placesOf(sites: { site: string; basis: string }[]): string[] {
  return sites.map((one) => (sites.some((other) => other.site === one.site && other.basis !== one.basis) ? `${one.site}/${one.basis}` : one.site));
}
