// A kept picture shown to the model: what a unit does on it, its likeliest classes without clamps and with them.
import type { JSX } from "preact";
import { usePosted } from "../api/ask";
import type { ClampAsked, ClassRow, PictureRun } from "../api/types";
import { neutral } from "../clamps";
import { number } from "../format";
import { query, withQuery } from "../route";
import { chance } from "./Next";
import { OnPicture } from "./OnPicture";
import { PictureChoice, useChosen } from "./PictureChoice";
import { Awaited } from "./States";
import { Verdict } from "./Verdict";

const SETS = 99;
const ROWS = 5;

interface Props {
  /** The unit whose values lie over the picture; empty for none. */
  unit: string;
  clamps: ClampAsked[];
  /** The unit's largest size, which gets the darkest fill. */
  most?: number;
}

/** The picture that the address names, or the first one, with what the model says of it. */
export function PictureBench({ unit, clamps, most = 0 }: Props): JSX.Element {
  const picture = useChosen();
  const acting = clamps.filter((one) => !neutral(one));
  const random = query.value.get("random") !== null && acting.length > 0;
  const body = { picture, clamps: acting, unit, controls: random ? SETS : 0, seed: 0 };
  const answer = usePosted<PictureRun>("/api/lab/picture", picture === undefined ? null : JSON.stringify(body));
  return (
    <div class="bench" data-testid="bench">
      <PictureChoice picture={picture} />
      <Awaited answer={answer}>
        {(run) => (
          <div class="shown-picture">
            <Shown run={run} most={most} />
            <div>
              <Classes rows={run.classes} clamped={acting.length > 0} />
              {acting.length > 0 && <Random run={run} />}
            </div>
          </div>
        )}
      </Awaited>
    </div>
  );
}

function Shown({ run, most }: { run: PictureRun; most: number }): JSX.Element {
  const { unit } = run;
  const largest = Math.max(most, ...(unit?.heat ?? []).map((x) => Math.abs(x ?? 0)));
  return (
    <figure>
      <OnPicture
        src={run.src}
        alt={run.name}
        size={run.size}
        heat={unit && { values: unit.heat, rows: unit.rows, columns: unit.columns, most: largest }}
        box={unit?.box ?? null}
        cell={unit?.cell ?? null}
      />
      <figcaption class="small">
        <bdi>{run.name}</bdi>
        {run.label !== null && (
          <>
            {" "}
            <span class="soft">shows</span> <bdi>{run.label}</bdi>
          </>
        )}
        {unit && (
          <span class="soft" data-testid="on-picture" data-value={unit.value ?? ""}>
            <br />
            the unit's highest value {number(unit.value)}
            {unit.place && ` at ${unit.place}`}
          </span>
        )}
      </figcaption>
    </figure>
  );
}

function Classes({ rows: all, clamped }: { rows: ClassRow[]; clamped: boolean }): JSX.Element {
  const size = (row: ClassRow) => Math.max(row.before ?? 0, row.after ?? 0);
  const rows = [...all].sort((a, b) => size(b) - size(a)).slice(0, ROWS);
  const width = (p: number | null) => ({ width: `${(p ?? 0) * 100}%` });
  return (
    <table class="next" data-testid="classes">
      <caption class="small soft">{clamped ? "the likeliest classes, without the clamps and with them" : "the likeliest classes"}</caption>
      <thead>
        <tr>
          <th scope="col" colSpan={2}>
            class
          </th>
          <th scope="col" class="n">
            {clamped ? "without, %" : "probability, %"}
          </th>
          {clamped && (
            <th scope="col" class="n">
              with, %
            </th>
          )}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={row.index} data-testid="class" data-index={row.index} data-before={row.before ?? ""} data-after={row.after ?? ""}>
            <th scope="row">
              <bdi>{row.name}</bdi>
            </th>
            <td class="twin" aria-hidden="true">
              {clamped && <i class="before" style={width(row.before)} />}
              <i class={clamped && (row.after ?? 0) < (row.before ?? 0) ? "neg" : "pos"} style={width(clamped ? row.after : row.before)} />
            </td>
            <td class="n">{chance(row.before)}</td>
            {clamped && <td class="n">{chance(row.after)}</td>}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Random({ run }: { run: PictureRun }): JSX.Element {
  if (!run.control) {
    return (
      <p class="small">
        <a href={withQuery({ random: "on" })} data-testid="random-sets">
          do the same to {SETS} random sets of like units
        </a>
      </p>
    );
  }
  return (
    <div class="small" data-testid="control" data-p={run.control.p} data-measured={run.control.measured}>
      <Verdict of={run.control} rule={run.control.rule} />
    </div>
  );
}
