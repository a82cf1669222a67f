// What to begin with: a prompt whose answer was explained, or the text at which a unit of the first page is strongest.
import type { JSX } from "preact";
import { useAnswer } from "../api/ask";
import type { AtlasPage, ExampleLine, GraphList, GraphRow } from "../api/types";
import { Nothing } from "./States";

const EACH = 3;
/** Tokens up to the strongest. */
const AROUND = 12;

export interface Start {
  prompt: string;
  /** The answer that was explained; null of an example's text. */
  row: GraphRow | null;
}

/** Marks such as <bos>, which a tokenizer puts there by itself. */
const SPECIAL = /^<[^<>\s]+>$/;

/** Whether a text that ends with one token and goes on with the next ends inside of a word. */
const INSIDE = /[\p{L}\p{N}]\n[\p{L}\p{N}]/u;

/** Return an example's text up to the token at which its unit is strongest; empty where it cannot be typed, or where that is inside of a word. */
function textOf({ tokens, mark, bytes }: ExampleLine): string {
  const from = Math.max(mark + 1 - AROUND, 0);
  if (bytes.some((i) => i >= from && i <= mark)) return "";
  if (INSIDE.test(`${tokens[mark]}\n${tokens[mark + 1] ?? ""}`)) return "";
  const words = tokens.slice(from, mark + 1).filter((token) => !SPECIAL.test(token));
  // An example may begin inside of a word.
  const whole = words.findIndex((token, i) => i > 0 && i < words.length && /^\s/.test(token));
  return (whole > 0 ? words.slice(whole) : words).join("").trim();
}

/** Links that begin with one click; `children` say what appears where there is nothing to begin with. */
export function StartWith({ to, children }: { to: (start: Start) => string; children: string }): JSX.Element | null {
  const graphs = useAnswer<GraphList>("/api/graphs");
  const atlas = useAnswer<AtlasPage>("/api/atlas");
  if (graphs.state === "waiting" || atlas.state === "waiting") return null;
  const rows = graphs.state === "here" ? graphs.data.rows.filter((row) => row.target && row.prompt) : [];
  const explained = [...new Map(rows.map((row) => [row.prompt, row])).values()].slice(0, EACH).map((row): Start => ({ prompt: row.prompt, row }));
  const begin = atlas.state === "here" ? atlas.data.begin : [];
  const texts = [...new Set(begin.flatMap(({ row }) => (row.example ? textOf(row.example) : "")))].filter((text) => text && !explained.some(({ prompt }) => prompt === text));
  const groups: [string, Start[]][] = [
    ["whose answer was explained", explained],
    ["at whose end a unit of this atlas is strongest", texts.slice(0, EACH).map((prompt) => ({ prompt, row: null }))],
  ];
  if (!explained.length && !texts.length) return <Nothing>{children}</Nothing>;
  return (
    <div class="begin" data-testid="begin">
      {groups.map(
        ([words, starts]) =>
          starts.length > 0 && (
            <div key={words}>
              <p class="small soft">begin with one {words}:</p>
              <ul>
                {starts.map((start) => (
                  <li key={start.prompt}>
                    <a href={to(start)} data-testid="begin-with">
                      <q>{start.prompt}</q>
                      {start.row && (
                        <span class="small soft">
                          {" "}
                          → {start.row.target}
                          {start.row.contrast !== null && `, not ${start.row.contrast}`}
                        </span>
                      )}
                    </a>
                  </li>
                ))}
              </ul>
            </div>
          ),
      )}
    </div>
  );
}
