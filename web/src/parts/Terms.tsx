// The glossary's words that stand on the page, with what they mean.
import type { JSX } from "preact";
import glossary from "../../../docs/glossary.md?raw";

interface Term {
  word: string;
  means: string;
}

const plain = (text: string) => text.replace(/[`*]/g, "").trim();

/** Rows of the glossary's tables; a row that explains several words begins with the first. */
const TERMS: Term[] = [...glossary.matchAll(/^\| (\*\*.+?) \| (.+) \|$/gm)].map(([, word = "", means = ""]) => ({
  word: plain(word),
  means: plain(means),
}));

/** Whether a page uses one of the words of a term, in the singular or plural. */
function used({ word }: Term, text: string): boolean {
  return word.split(/, | /).some((one) => new RegExp(`(^|[^\\p{L}])${one.replace(/[^\p{L}\p{N} -]/gu, "\\$&")}(s|es|d|ed)?([^\\p{L}]|$)`, "iu").test(text));
}

/** Terms that the page uses; `id` is what stands on it. */
export function Terms({ id }: { id: string }): JSX.Element {
  const found = TERMS.filter((term) => used(term, id));
  return (
    <dl class="terms" data-testid="terms">
      {found.map(({ word, means }) => (
        <div key={word}>
          <dt>{word}</dt>
          <dd>{means}</dd>
        </div>
      ))}
    </dl>
  );
}
