// What a measurement says of a claim: the receipt's own sentence, and what its words mean.
import type { JSX } from "preact";

/** The verdict; nothing where nothing was measured. */
export function Verdict({ verdict, rule }: { verdict: string; rule: string }): JSX.Element | null {
  if (!verdict) return null;
  return (
    <div class="verdict">
      <p data-testid="verdict">
        Verdict: <strong>{verdict}</strong>
      </p>
      {rule && (
        <p class="small soft" data-testid="rule">
          {rule}
        </p>
      )}
    </div>
  );
}
