// What a measurement says of a claim: the receipt's own sentence, what to be careful of, and what the grades mean.
import type { JSX } from "preact";

/** What a receipt says, wherever it comes from. */
export interface Said {
  grade: string;
  sentence: string;
  cautions?: string[];
}

/** The verdict first, then the cautions; nothing where nothing was measured. */
export function Verdict({ of, rule = "" }: { of: Said; rule?: string }): JSX.Element | null {
  if (!of.grade) return null;
  const rest = of.sentence.slice(of.sentence.indexOf(":"));
  return (
    <div class="verdict" data-grade={of.grade}>
      <p data-testid="verdict">
        <Grade of={of.grade} />
        {rest}
      </p>
      <Cautions of={of.cautions ?? []} />
      {rule && (
        <details class="small soft">
          <summary>What the grades mean</summary>
          <p data-testid="rule">{rule}</p>
        </details>
      )}
    </div>
  );
}

/** The grade alone, for a row of a table. */
export function Grade({ of }: { of: string }): JSX.Element {
  return <strong class={of === "holds" ? "grade" : "grade doubt"}>{of.charAt(0).toUpperCase() + of.slice(1)}</strong>;
}

/** What a reader should know before believing it. */
function Cautions({ of }: { of: string[] }): JSX.Element | null {
  if (!of.length) return null;
  return (
    <ul class="cautions small" data-testid="cautions">
      {of.map((one) => (
        <li key={one}>{one}</li>
      ))}
    </ul>
  );
}
