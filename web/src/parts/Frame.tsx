// What surrounds every screen: where one is, and where one can go.
import type { ComponentChildren, JSX } from "preact";
import { useEffect } from "preact/hooks";
import { useAnswer } from "../api/ask";
import type { LabPage } from "../api/types";
import { exportedFile } from "../exportedFile";
import { useKeys } from "../keys";
import { follow, go, path } from "../route";
import type { Screen } from "../screen";
import { THEMES, theme } from "../theme";
import { Help, showHelp } from "./Help";

/** Go to Find with the words that were typed. */
function search(event: SubmitEvent): void {
  event.preventDefault();
  const words = String(new FormData(event.currentTarget as HTMLFormElement).get("q") ?? "").trim();
  go(`/units${words && `?q=${encodeURIComponent(words)}`}`);
}

/** Put the cursor into the search field of the screen, or of the frame. */
function toSearch(): void {
  const field = document.querySelector<HTMLInputElement>("#page [data-search]") ?? document.querySelector<HTMLInputElement>("[data-search]");
  field?.focus();
  field?.select();
}

/** The bar on top, with the screens that have a place in it, and the screen below. */
export function Frame({ bar, children }: { bar: Screen[]; children: ComponentChildren }): JSX.Element {
  // Until it is known what the atlas is of, screens that it may lack keep their room, so that nothing jumps.
  const lab = useAnswer<LabPage>(exportedFile ? null : "/api/lab");
  const shows = lab.state === "failed" ? undefined : lab.data?.shows;
  const there = bar.filter(({ only }) => !only || !shows || only.includes(shows));
  const open = there.flatMap(({ key, path }) => (key ? [[key, () => go(path)] as const] : []));
  useKeys({ "/": toSearch, "?": showHelp, ...Object.fromEntries(open) });
  useEffect(() => {
    document.addEventListener("click", follow);
    return () => document.removeEventListener("click", follow);
  }, []);
  const next = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length] as (typeof THEMES)[number];
  const at = path.value;
  return (
    <>
      <a class="skip" href="#page">
        to the content
      </a>
      <header class="masthead">
        <a class="brand" href="/" aria-label="patchclamp atlas, home">
          <svg viewBox="0 0 34 20" width="34" height="20" aria-hidden="true">
            <path d="M1 13h8l2.5-3L14.500 1l4 17 3-5H33" />
          </svg>
          <span>atlas</span>
        </a>
        <nav aria-label="screens">
          {there.map(({ path: to, title, only }) => {
            const here = to === "/" ? at === "/" : at.startsWith(to);
            return (
              <a href={to} style={only && !shows && !here ? { visibility: "hidden" } : undefined} aria-current={at === to ? "page" : here ? "true" : undefined}>
                {title}
              </a>
            );
          })}
        </nav>
        {at !== "/units" && (
          <form role="search" class="search small" onSubmit={search}>
            <input data-search type="search" name="q" aria-label="search units" placeholder="search units" autocomplete="off" spellcheck={false} />
            <kbd aria-hidden="true">/</kbd>
          </form>
        )}
        <div class="tools">
          <button type="button" class="quiet" data-testid="theme" onClick={() => (theme.value = next)} aria-label={`theme: ${theme.value}; change to ${next}`}>
            <span class={`sun ${theme.value}`} aria-hidden="true" />
            <span>{theme.value}</span>
          </button>
          <button type="button" class="quiet" onClick={showHelp} aria-label="keys and signs">
            ?
          </button>
        </div>
      </header>
      <main id="page" tabIndex={-1}>
        {children}
      </main>
      <Help bar={there} />
    </>
  );
}
