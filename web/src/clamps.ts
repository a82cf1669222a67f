// Clamps as an address writes them, several of one kind together: `KEY@3 KEY@5 ablate`, `KEY set 0`, `KEY@3:,+0: scale 2`,
// `KEY set neutral`, `KEY patch` (the other prompt's value). Keys leave the subject out: an atlas has one.
import type { ClampAsked } from "./api/types";
import { changed, local, spelt } from "./route";

const MODES = new Set(["ablate", "patch", "set", "add", "scale"]);
/** Modes that take no number. */
export const BARE = new Set(["ablate", "patch"]);

/** The change that a new clamp asks for: a head, or a whole site, is many numbers, so it is scaled and not set to one. */
export function usualMode(key: string): ClampAsked["mode"] {
  return /\/(heads|whole)\//.test(key) ? "scale" : "set";
}

function change({ mode, value }: ClampAsked): string {
  return BARE.has(mode) ? mode : `${mode} ${value === null ? "neutral" : value}`;
}

/** Return clamps as texts; neighbours that are changed alike stand in one. */
export function written(clamps: ClampAsked[]): string[] {
  const texts: { keys: string[]; change: string }[] = [];
  for (const one of clamps) {
    const key = local(one.key) + (one.at && `@${one.at}`);
    const last = texts.at(-1);
    if (last?.change === change(one)) last.keys.push(key);
    else texts.push({ keys: [key], change: change(one) });
  }
  return texts.map((one) => [...one.keys, one.change].join(" "));
}

/** Read one text; null where it is none. */
export function readClamps(text: string): ClampAsked[] | null {
  const words = text.split(" ");
  const at = words.findIndex((word) => MODES.has(word));
  const mode = words[at] as ClampAsked["mode"];
  const rest = words.slice(at + 1);
  if (at < 1 || rest.length !== (BARE.has(mode) ? 0 : 1)) return null;
  const value = BARE.has(mode) || rest[0] === "neutral" ? null : Number(rest[0]);
  if (value !== null && (!Number.isFinite(value) || rest[0] === "")) return null;
  return words.slice(0, at).map((word) => {
    const cut = word.indexOf("@");
    return { key: local(cut < 0 ? word : word.slice(0, cut)), mode, value, at: cut < 0 ? "" : word.slice(cut + 1) };
  });
}

/** Whether a clamp changes nothing. */
export function neutral({ mode, value }: ClampAsked): boolean {
  return !BARE.has(mode) && (value === null || (mode === "add" && value === 0) || (mode === "scale" && value === 1));
}

/** Return the address of the lab with a text, clamps, and what else its address can hold. */
export function labAddress(text: string, clamps: ClampAsked[], more: Record<string, string> = {}): string {
  return `/lab${spelt(changed(new URLSearchParams(), { text, clamp: written(clamps), ...more }))}`;
}

/** Return the address of the maps of blocks against tokens, with a text, clamps, and what else it can hold. */
export function heatAddress(text: string, clamps: ClampAsked[], more: Record<string, string> = {}): string {
  return `/heat${spelt(changed(new URLSearchParams(), { text, ...more, clamp: written(clamps) }))}`;
}
