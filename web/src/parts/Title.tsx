// What every screen has: its name, its question, and where its data came from.
import type { ComponentChildren, JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { Source } from "../api/types";
import { Command } from "./Command";

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
