// Which keys do what, and what the words on the page mean.
import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { exportedFile } from "../exportedFile";
import { keysOn } from "../keys";
import type { Screen } from "../screen";
import { Terms } from "./Terms";

const KEYS: [string[], string][] = [
  [["/"], "search units"],
  [["↓", "↑"], "next and previous row in Find; Enter opens it"],
  [["]", "["], "next and previous unit, or page of Find"],
  [["v"], "what stands under each token: the peak value, all values, ids"],
  [["u", "U"], "undo and redo a change of clamps in Lab"],
  [["Del"], "on a clamp's slider: neutral"],
];
const LAST: typeof KEYS = [
  [["?"], "these keys, and what the words on the page mean"],
  [["Esc"], "close it; leave the search field"],
];

/** What stands on the page, at the time when help was asked for. */
const standing = signal<string | null>(null);

/** Open the list of keys and terms. */
export function showHelp(): void {
  standing.value = document.getElementById("page")?.innerText ?? "";
  (document.getElementById("help") as HTMLDialogElement | null)?.showModal();
}

/** The list of keys, closed until it is asked for. */
export function Help({ bar }: { bar: Screen[] }): JSX.Element {
  const keyed = bar.filter(({ key }) => key);
  const screens: (typeof KEYS)[number] = [keyed.map(({ key }) => key as string), keyed.map(({ title }) => title).join(", ")];
  return (
    <dialog id="help" aria-labelledby="help-title" data-testid="help">
      <div class="help">
        <div>
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
        </div>
        {!exportedFile && (
          <div>
            <h2>Words on this page</h2>
            {standing.value !== null && <Terms id={standing.value} />}
          </div>
        )}
      </div>
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
