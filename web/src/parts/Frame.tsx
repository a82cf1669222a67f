// What surrounds every screen: where one is, where one can go, and where the data stand as JSON.
import type { ComponentChildren, JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { Source } from "../api/types";
import { useKeys } from "../keys";
import { follow, go, path } from "../route";
import { THEMES, theme } from "../theme";
import { Command } from "./Command";
import { Help, showHelp } from "./Help";

const PLACES: [string, string][] = [
  ["/", "Home"],
  ["/units", "Find"],
  ["/lab", "Lab"],
  ["/graphs", "Answers"],
  ["/runs", "Runs"],
];

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

/** The bar on top and the screen below it. */
export function Frame({ children }: { children: ComponentChildren }): JSX.Element {
  useKeys({ "/": toSearch, "?": showHelp, h: () => go("/"), f: () => go("/units"), l: () => go("/lab"), a: () => go("/graphs"), r: () => go("/runs") });
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
          {PLACES.map(([to, name]) => {
            const here = to === "/" ? at === "/" : at.startsWith(to);
            return (
              <a href={to} aria-current={at === to ? "page" : here ? "true" : undefined}>
                {name}
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
      <Help />
    </>
  );
}

/** Name the screen in the window's title. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · atlas`;
  }, [title]);
}

/** The question that a screen answers, above what it is about, if that has a name. */
export function Title({ question, children }: { question: string; children?: ComponentChildren }): JSX.Element {
  if (children === undefined) return <h1 class="question">{question}</h1>;
  return (
    <div class="title">
      <p class="question">{question}</p>
      <h1>{children}</h1>
    </div>
  );
}

/** Where a screen comes from: the run, the command, the Python, and the same as JSON. */
export function Origin({ source, twin }: { source: Source; twin: string }): JSX.Element {
  return (
    <footer class="origin">
      <Command command={source.command} python={source.python}>
        Made by this command; the same data in Python
      </Command>
      <p class="small soft row">
        <a href={`/runs/${source.run}`} data-testid="source">
          the run that made this
        </a>
        <a href={twin} data-testid="twin">
          this page as JSON
        </a>
      </p>
    </footer>
  );
}
