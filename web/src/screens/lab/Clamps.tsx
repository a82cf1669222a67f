// The clamps, in the order in which they apply, and their undoing.
import type { JSX } from "preact";
import type { Ran } from "../../api/run";
import type { ClampAsked, LabPage, Tokens } from "../../api/types";
import { neutral } from "../../clamps";
import { plural } from "../../format";
import { Nothing } from "../../parts/States";
import { local } from "../../route";
import { Add } from "./Add";
import { Clamp } from "./Clamp";
import { canRedo, canUndo, clampTo, redo, shown, undo } from "./state";

/** Up to so many clamps are drawn whole. */
const FEW = 3;

interface Props {
  lab: LabPage;
  tokens: Tokens | undefined;
  token: number;
  ran: Ran;
}

/** Every clamp, and a field for a unit's key. */
export function Clamps({ lab, tokens, token, ran }: Props): JSX.Element {
  const { clamps, unread } = shown.value;
  const full = clamps.length >= lab.most_clamps;
  const change = (i: number, part: Partial<ClampAsked>, by: string) =>
    clampTo(
      clamps.map((one, j) => (i === j ? { ...one, ...part } : one)),
      `${by} ${i}`,
    );
  // The server's answers are of the clamps that are not neutral, in their order.
  const acting = (ran.asked?.clamps ?? []).filter((one) => !neutral(one));
  const clamped = (one: ClampAsked, i: number) => {
    const nth = clamps.slice(0, i).filter((other) => !neutral(other)).length;
    return !neutral(one) && acting[nth] && local(acting[nth].key) === local(one.key) ? ran.table?.clamps[nth] : undefined;
  };
  return (
    <section aria-labelledby="clamps" data-testid="clamps">
      <div class="row between">
        <h2 id="clamps">Clamps</h2>
        <span class="row tight">
          <button type="button" class="quiet" disabled={!canUndo.value} onClick={undo} data-testid="undo">
            undo <kbd aria-hidden="true">u</kbd>
          </button>
          <button type="button" class="quiet" disabled={!canRedo.value} onClick={redo} data-testid="redo">
            redo <kbd aria-hidden="true">U</kbd>
          </button>
        </span>
      </div>
      {unread.map((text) => (
        <p class="warn small" key={text} data-testid="unread">
          A clamp of this address cannot be read and is left out: <code>{text}</code>
        </p>
      ))}
      {clamps.length ? (
        <ol class="clamps">
          {clamps.map((one, i) => (
            <Clamp
              key={`${i} ${one.key}`}
              clamp={one}
              place={i}
              tokens={tokens}
              token={token}
              generates={lab.generates}
              many={clamps.length > FEW}
              clamped={clamped(one, i)}
              onChange={(part, by) => change(i, part, by)}
              onRemove={() => clampTo(clamps.filter((_, j) => j !== i), "clamps")}
            />
          ))}
        </ol>
      ) : (
        <Nothing>Nothing is clamped. Take a unit from the ranking, or name one here.</Nothing>
      )}
      {full ? <p class="small soft">These are {plural(clamps.length, "clamp")}, the most that one run takes.</p> : <Add clamps={clamps} />}
    </section>
  );
}
