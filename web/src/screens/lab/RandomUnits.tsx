// The random-unit control: the same clamps on random sets of comparable units.
import type { JSX } from "preact";
import type { Ran } from "../../api/run";
import type { Control } from "../../api/types";
import { draft } from "../../draft";
import { count, number, percent, plural } from "../../format";
import { Sets } from "../../parts/Sets";
import { Chip } from "../../parts/Text";
import { Verdict } from "../../parts/Verdict";
import { Answers } from "./Ranked";
import { asked, SETS, shown } from "./state";

/** The button, and its answer. */
export function RandomUnits({ ran, acting }: { ran: Ran; acting: boolean }): JSX.Element {
  const { controls } = shown.value;
  const waits = ran.busy && controls > 0 && !ran.control;
  return (
    <section aria-labelledby="random" data-testid="random" aria-busy={waits}>
      <h2 id="random">Random-unit control</h2>
      {acting ? (
        <>
          <p class="small soft">
            The same clamps on random sets of other units of the same sites, which the clamps change by about as much; of the same kind in other layers
            where a site has too few. The log-probability of one token is compared.
          </p>
          {!ran.control && <Sets asked={{ graph: "", nodes: [], clamps: asked.value.clamps }} />}
          <div class="asks">
            <Answers name="target" words="token" none="the likeliest without clamps" rows={ran.table?.rows ?? []} />
            <button type="button" disabled={waits} data-testid="control" onClick={() => draft({ controls: String(SETS) }, "controls")}>
              {waits ? "measuring …" : ran.control ? "measured" : "measure"}
            </button>
          </div>
        </>
      ) : (
        <p class="small soft">Clamp something first; then the same can be done to random sets of comparable units.</p>
      )}
      {ran.control && <Picture control={ran.control} stale={ran.stale} />}
    </section>
  );
}

const STACK = 7;
/** Above this share of units that had to come from elsewhere, the comparison says little. */
const UNLIKE = 0.2;

/** How far from its place the stack of the nth dot stands, in pixels: by turns left and right of the first. */
function aside(level: number): number {
  const nth = Math.floor(level / STACK);
  return (nth % 2 ? -1 : 1) * Math.ceil(nth / 2) * 8;
}

function Picture({ control, stale }: { control: Control; stale: boolean }): JSX.Element {
  const { measured, p, target } = control;
  const { low, high } = control.mean;
  const effects = control.randoms.filter((x): x is number => x !== null);
  const all = [...effects, measured ?? 0, low ?? 0, high ?? 0, 0];
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const pad = (most - least || 1) * 0.06;
  const share = (x: number) => (x - least + pad) / (most - least + 2 * pad);
  const left = (x: number) => `${share(x) * 100}%`;
  const n = control.randoms.length;
  const asFar = measured === null ? 0 : effects.filter((x) => Math.abs(x) >= Math.abs(measured)).length;
  // Sets that were drawn twice count once in p; where none moved it as far, p says how many there are.
  const different = Math.round(1 / p) - 1;
  // Dots that would lie on one another are stacked, and full stacks stand beside one another.
  const stacks = new Map<number, number>();
  const height = (x: number) => {
    const bin = Math.round(share(x) * 40);
    const level = stacks.get(bin) ?? 0;
    stacks.set(bin, level + 1);
    return level;
  };
  const dots = [...effects].sort((a, b) => a - b).map((x) => ({ x, level: height(x) }));
  return (
    <div class={stale ? "old" : ""} data-testid="control-result" data-measured={measured ?? ""} data-low={low ?? ""} data-high={high ?? ""} data-mean={control.mean.value ?? ""} data-p={p} data-sets={n}>
      <Verdict of={control} rule={control.rule} />
      <div class="swarm" role="img" aria-label={`effects of ${n} random sets and of these clamps`}>
        <i class="nought" style={{ left: left(0) }} />
        {low !== null && high !== null && <i class="span" style={{ left: left(low), right: `calc(100% - ${left(high)})` }} />}
        {dots.map(({ x, level }, i) => (
          <i key={i} class="dot" data-testid="random-effect" data-value={x} style={{ left: `calc(${left(x)} + ${aside(level)}px)`, bottom: `${14 + (level % STACK) * 9}px` }} />
        ))}
        {measured !== null && <i class={`measured ${measured < 0 ? "neg" : "pos"}`} style={{ left: left(measured) }} />}
      </div>
      <div class="swarm-names small" aria-hidden="true">
        {measured !== null && (
          <span style={{ left: left(measured), translate: `${-share(measured) * 100}% 0` }}>
            these clamps <b class="num">{number(measured, true)}</b>
          </span>
        )}
        {(measured === null || Math.abs(share(measured) - share(0)) > 0.45) && <span class="soft" style={{ left: left(0), translate: `${-share(0) * 100}% 0` }}>random sets, 0</span>}
      </div>
      <p class="small">
        These clamps moved log P(<Chip token={target} />) by <strong class="num">{number(measured, true)}</strong> nats; {n} random sets by{" "}
        <span class="num">{number(control.mean.value, true)}</span> on average
        {low !== null && high !== null && (
          <>
            {" "}
            (95 % interval of the mean <span class="num" data-testid="control-interval">{`${number(low, true)} to ${number(high, true)}`}</span>)
          </>
        )}
        . {count(asFar)} of {count(n)} moved it at least as far: <strong class="num" data-testid="control-p">p = {p.toFixed(3)}</strong>
        {asFar === 0 && `, the least that ${plural(different, "different set")} can give`}.
      </p>
      {control.other_decile > 0 && (
        <p class={`small ${control.other_decile > UNLIKE ? "warn" : "soft"}`} data-testid="unlike" data-value={control.other_decile}>
          {control.other_decile === 1
            ? "No comparable units exist here, so this control is weak"
            : `${percent(control.other_decile)} of the random units are in another layer, or changed by less or more than those they replace`}
          . Drawn: {control.drawn}.
        </p>
      )}
      <p class="small soft">
        This compares these units with comparable ones, on this prompt and this token. It does not say what they represent.
      </p>
    </div>
  );
}
