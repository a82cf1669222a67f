// Which keys do what.
import type { JSX } from "preact";
import { keysOn } from "../keys";
import type { Screen } from "../screen";

const KEYS: [string[], string][] = [
  [["/"], "search units"],
  [["↓", "↑"], "next and previous row in Find; Enter opens it"],
  [["]", "["], "next and previous unit, or page of Find"],
  [["v"], "what stands under each token: the peak value, all values, ids"],
  [["u", "U"], "undo and redo a change of clamps in Lab"],
  [["Del"], "on a clamp's slider: neutral"],
];
const LAST: typeof KEYS = [
  [["?"], "this list"],
  [["Esc"], "close it; leave the search field"],
];

/** Open the list of keys. */
export function showHelp(): void {
  (document.getElementById("help") as HTMLDialogElement | null)?.showModal();
}

/** The list of keys, closed until it is asked for. */
export function Help({ bar }: { bar: Screen[] }): JSX.Element {
  const keyed = bar.filter(({ key }) => key);
  const screens: (typeof KEYS)[number] = [keyed.map(({ key }) => key as string), keyed.map(({ title }) => title).join(", ")];
  return (
    <dialog id="help" aria-labelledby="help-title" data-testid="help">
      <h2 id="help-title">Keys</h2>
      <dl class="keys">
        {[...KEYS, screens, ...LAST].map(([keys, does]) => (
          <>
            <dt>
              {keys.map((key) => (
                <kbd>{key}</kbd>
              ))}
            </dt>
            <dd>{does}</dd>
          </>
        ))}
      </dl>
      <p class="small soft">
        In token strips, blue and whole is above zero, orange and hatched below; the darkest fill is the unit's largest size.
        A dot stands for a space, ↵ for a line break, hexadecimal for part of a character.
      </p>
      <form method="dialog" class="row">
        <label class="check small">
          <input type="checkbox" checked={keysOn.value} onChange={(e) => (keysOn.value = e.currentTarget.checked)} /> single-key
          shortcuts
        </label>
        <button type="submit">close</button>
      </form>
    </dialog>
  );
}
