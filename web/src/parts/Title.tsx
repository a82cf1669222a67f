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

interface OriginProps {
  source: Source;
  /** The address of the same as JSON. */
  twin: string;
  /** Whether the command made what the screen shows, and not only the atlas that it reads. */
  itself?: boolean;
}

/** Where a screen comes from: the run, the command, the Python, and the same as JSON. */
export function Origin({ source, twin, itself = false }: OriginProps): JSX.Element {
  return (
    <footer class="origin">
      <Command command={source.command} python={source.python}>
        {itself ? "Made by this command; the same data in Python" : "This command made the atlas; the data of this page in Python"}
      </Command>
      <p class="small soft row">
        {source.run && (
          <a href={`/runs/${source.run}`} data-testid="source">
            {itself ? "the run that made this" : "the run that made the atlas"}
          </a>
        )}
        <a href={twin} data-testid="twin">
          this page as JSON
        </a>
      </p>
    </footer>
  );
}
