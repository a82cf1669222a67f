// Single keys, and the switch that turns them off for readers whose own tools use single keys.
import { effect, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

const KEPT = "patchclamp-keys";

function wanted(): boolean {
  try {
    return localStorage.getItem(KEPT) !== "off";
  } catch {
    return true;
  }
}

export const keysOn = signal(wanted());

effect(() => {
  try {
    localStorage.setItem(KEPT, keysOn.value ? "on" : "off");
  } catch {
    // The choice then lasts as long as the page.
  }
});

/** Whether a key belongs to what has the focus, such as a text field; a slider has no use for letters. */
function taken(event: KeyboardEvent): boolean {
  const at = event.target as HTMLElement;
  const typed = at.matches("input:not([type=range]), textarea, select, [contenteditable]");
  return typed || document.querySelector("dialog[open]") !== null;
}

/** Do something at a key while a component is shown; keys are named as `KeyboardEvent.key` has them. */
export function useKeys(actions: Record<string, () => void>): void {
  // Keys come faster than effects: what they do is what was drawn last.
  const latest = useRef(actions);
  latest.current = actions;
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (!keysOn.value || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || taken(event)) return;
      const action = latest.current[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}
