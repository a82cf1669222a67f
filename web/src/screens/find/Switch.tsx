// Whether Find searches what is known of units, or shows a text to all of them.
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { LabPage } from "../../api/types";
import { exportedFile } from "../../exportedFile";
import { query, withQuery } from "../../route";

/** Whether the address asks for the search by text. */
export function byText(): boolean {
  return query.value.get("search") === "text";
}

/** Two ways to search; by text only where a model is attached. Each keeps what the other was asked. */
export function Switch(): JSX.Element | null {
  const lab = useAnswer<LabPage>(exportedFile ? null : "/api/lab");
  const text = byText();
  if (!text && !(lab.state === "here" && lab.data.attached && lab.data.shows === "texts")) return null;
  const link = (on: boolean, search: string | null, words: string) => (
    <a href={withQuery({ search, cursor: null })} aria-current={on ? "page" : undefined} data-testid={`by-${search ?? "words"}`}>
      {words}
    </a>
  );
  return (
    <nav class="switch small" aria-label="what to search by">
      {link(!text, null, "by words")}
      {link(text, "text", "by text")}
    </nav>
  );
}
