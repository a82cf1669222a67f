// Clamps as an address writes them: `KEY set 0`, `KEY scale 2 at 3:,+0:`, `KEY ablate`, `KEY set neutral`.
import type { ClampAsked } from "./api/types";
import { changed, spelt } from "./route";

const CLAMP = /^(\S+) (?:(ablate)|(set|add|scale) (\S+))(?: at (\S+))?$/;

/** Return a clamp as text. */
export function written({ key, mode, value, at }: ClampAsked): string {
  const change = mode === "ablate" ? "ablate" : `${mode} ${value === null ? "neutral" : value}`;
  return `${key} ${change}${at && ` at ${at}`}`;
}

/** Read a clamp; null where the text is none. */
export function readClamp(text: string): ClampAsked | null {
  const [, key, ablate, mode, said, at = ""] = CLAMP.exec(text) ?? [];
  if (key === undefined) return null;
  if (ablate) return { key, mode: "ablate", value: null, at };
  const value = said === "neutral" ? null : Number(said);
  if (value !== null && !Number.isFinite(value)) return null;
  return { key, mode: mode as ClampAsked["mode"], value, at };
}

/** Whether a clamp changes nothing. */
export function neutral({ mode, value }: ClampAsked): boolean {
  return mode !== "ablate" && (value === null || (mode === "add" && value === 0) || (mode === "scale" && value === 1));
}

/** Return the address of the lab with a text, clamps, and what else its address can hold. */
export function labAddress(text: string, clamps: ClampAsked[], more: Record<string, string> = {}): string {
  return `/lab${spelt(changed(new URLSearchParams(), { text, clamp: clamps.map(written), ...more }))}`;
}
