// A unit of a model of images: where on pictures it acts, how much, and which classes it stands for.
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import { useEffect } from "preact/hooks";
import type { ClampAsked, LabPage, Neighbour, PictureExample, PictureExamples, TokenWeight, UnitPage } from "../../api/types";
import { count, number, percent } from "../../format";
import { draft, drafted, forget } from "../../draft";
import { type Bar, Bars } from "../../parts/Bars";
import { Histogram } from "../../parts/Histogram";
import { Interval } from "../../parts/Interval";
import { Line } from "../../parts/Line";
import { CutOut, OnPicture } from "../../parts/OnPicture";
import { PictureBench } from "../../parts/PictureBench";
import { Slider } from "../../parts/Slider";
import { Awaited, Nothing } from "../../parts/States";
import { Thumbnail } from "../../parts/Thumbnail";
import { go, query, unitAddress, withQuery } from "../../route";
import { Numbers, chosenBins } from "./Activity";
import { Descriptions } from "./Descriptions";
import { Answers } from "./Panels";
import { Write } from "./Write";

const MOST = 50;
/** The kinds in the order of the page, and how many are shown before one asks for all. */
const KINDS: [kind: string, title: string, first: number][] = [
  ["top", "Highest", 8],
  ["lowest", "Lowest", 6],
  ["range", "Across its range", 10],
  ["random", "Random", 4],
];
const SHOWN = 8;

/** The page's panels; `id` is the unit's key. */
export function Pictures({ id }: { id: string }): JSX.Element {
  const answer = useAnswer<UnitPage>(`/api${unitAddress(id)}`);
  const lab = useAnswer<LabPage>("/api/lab");
  const attached = lab.state === "here" && lab.data.attached;
  return <Awaited answer={answer}>{(unit) => <Whole unit={unit} attached={attached} />}</Awaited>;
}

function Whole({ unit, attached }: { unit: UnitPage; attached: boolean }): JSX.Element {
  return (
    <>
      <Sum unit={unit} />
      <div class="unit">
        <div class="column">
          {unit.descriptions.length > 0 && (
            <div class="said">
              <Descriptions unit={unit} />
            </div>
          )}
          {attached && (
            <div class="tried">
              <Trial unit={unit} />
            </div>
          )}
          <div class="evidence">
            <Evidence unit={unit} />
          </div>
          <div class="notes-of">
            <Write id={unit.key} />
          </div>
        </div>
        <div class="column">
          <div class="activity">
            <Activity unit={unit} />
          </div>
          <div class="rail">
            <Detects unit={unit} />
            <Promotes unit={unit} />
            <Near unit={unit} />
            <Answers unit={unit} />
          </div>
        </div>
      </div>
    </>
  );
}

/** How often and how far it acts, in one line. */
function Sum({ unit }: { unit: UnitPage }): JSX.Element {
  const { statistics: s } = unit;
  return (
    <p class="lead">
      <Line parts={unit.line.parts} />
      <br />
      <span class="soft small">
        above zero at {percent(s.frequency)} of the places in {count(s.counted)} pictures, up to{" "}
      </span>
      <strong class="num" data-testid="maximum" data-value={s.maximum ?? ""}>
        {number(s.maximum)}
      </strong>
      {s.minimum !== null && s.minimum < 0 && (
        <span class="soft" data-testid="minimum" data-value={s.minimum}>
          ; below zero down to <strong class="num">{number(s.minimum)}</strong>
        </span>
      )}
    </p>
  );
}

// -- the model --------------------------------------------------------------------------------------------------------

/** The unit clamped on a picture: only where a model is attached. */
function Trial({ unit }: { unit: UnitPage }): JSX.Element {
  useEffect(() => forget, []);
  const { minimum, maximum, mean } = unit.statistics;
  const finite = (text: string | null) => (text === null || text === "" || !Number.isFinite(Number(text)) ? null : Number(text));
  const shown = finite(drafted.value.get("value"));
  const value = finite(query.value.get("value"));
  const clamps: ClampAsked[] = value === null ? [] : [{ key: unit.key, mode: "set", value, at: "" }];
  const marks: [number, string][] = [[0, "0"]];
  if (maximum) marks.push([maximum, `max ${number(maximum)}`]);
  const [low, high] = [Math.min(minimum ?? 0, 0), Math.max(maximum ?? 0, 0)];
  return (
    <section aria-labelledby="trial" data-testid="trial">
      <h2 id="trial">On a picture</h2>
      <PictureBench unit={unit.key} clamps={clamps} most={Math.max(Math.abs(minimum ?? 0), Math.abs(maximum ?? 0))} />
      <div class="mini">
        <Slider
          value={shown}
          rest={mean ?? 0}
          low={low}
          high={high > low ? high : low + 1}
          natural={minimum !== null && maximum !== null ? [minimum, maximum] : null}
          marks={marks}
          label="set this unit to, at every place"
          onMove={(to) => draft({ value: to === null ? null : String(to), random: null }, "value")}
        />
        <p class="small soft">{value === null ? "Neutral: nothing is changed. Move the handle to set the unit to one value at every place." : "The unit is set to this value at every place."}</p>
      </div>
    </section>
  );
}

// -- examples ---------------------------------------------------------------------------------------------------------

function Evidence({ unit }: { unit: UnitPage }): JSX.Element {
  const asked = query.value;
  const [low, high, only] = [asked.get("low"), asked.get("high"), asked.get("kind")];
  const over = asked.get("map") === "on";
  const base = `/api${unitAddress(unit.key)}/pictures`;
  const kinds = KINDS.filter(([kind]) => !only || kind === only);
  return (
    <section aria-labelledby="examples">
      <div class="row">
        <h2 id="examples">Examples</h2>
        <fieldset class="switch small">
          <legend class="out-of-sight">what lies over the pictures</legend>
          <span class="soft" aria-hidden="true">
            over the pictures:
          </span>
          <a href={withQuery({ map: null })} aria-current={over ? undefined : "true"} data-testid="map-off">
            nothing
          </a>
          <a href={withQuery({ map: "on" })} aria-current={over ? "true" : undefined} data-testid="map-on">
            its values
          </a>
        </fieldset>
      </div>
      {low !== null && high !== null ? (
        <Group title="From the chosen interval" kind="interval" over={over} whole={false} url={`${base}?kind=interval&low=${encodeURIComponent(low)}&high=${encodeURIComponent(high)}&limit=20`} />
      ) : (
        kinds.map(([kind, title, first]) => (
          <Group key={kind} title={title} kind={kind} over={over} whole={only !== null} url={`${base}?kind=${kind}&limit=${only ? MOST : first}`} />
        ))
      )}
    </section>
  );
}

interface GroupProps {
  title: string;
  kind: string;
  url: string;
  over: boolean;
  whole: boolean;
}

function Group({ title, kind, url, over, whole }: GroupProps): JSX.Element {
  const answer = useAnswer<PictureExamples>(url);
  return (
    <Awaited answer={answer}>
      {(found) =>
        // A unit that never acts below zero has no lowest examples; nothing is said of them.
        found.examples.length === 0 && kind === "lowest" && !whole ? (
          <></>
        ) : (
          <div class="group" data-testid={`pictures-${kind}`}>
            <div class="row">
              <h3>{title}</h3>
              <p class="small soft" data-testid="shown">
                showing {count(found.examples.length)} of {count(found.total)}
                {kind === "interval" && " places"}
                {found.examples.length < found.total && kind !== "interval" && (
                  <>
                    {" · "}
                    <a href={withQuery({ kind })}>show all</a>
                  </>
                )}
                {(whole || kind === "interval") && (
                  <>
                    {" · "}
                    <a href={withQuery({ kind: null, low: null, high: null })}>every kind</a>
                  </>
                )}
              </p>
            </div>
            <p class="small soft note">{found.note}</p>
            {found.examples.length ? (
              <ul class="pictures">
                {found.examples.map((one) => (
                  <Card key={`${one.picture}@${one.position}`} one={one} found={found} over={over} />
                ))}
              </ul>
            ) : (
              <Nothing>There are none.</Nothing>
            )}
          </div>
        )
      }
    </Awaited>
  );
}

function Card({ one, found, over }: { one: PictureExample; found: PictureExamples; over: boolean }): JSX.Element {
  const src = `/api/pictures/${one.picture}.png`;
  const heat = over ? { values: one.heat, rows: found.rows, columns: found.columns, most: found.most } : null;
  const part = one.box && (one.box[2] as number) - (one.box[0] as number) < 0.99 ? one.box : null;
  return (
    <li data-testid="example" data-kind={one.kind} data-act={one.value} data-picture={one.picture} data-position={one.position}>
      <figure>
        <OnPicture src={src} alt={`${one.name}${one.label === null ? "" : `, which shows ${one.label}`}`} size={found.size} heat={heat} box={one.box} cell={one.cell} />
        <figcaption>
          {part && <CutOut src={src} size={found.size} box={part} />}
          <span>
            <strong class={`num ${one.value < 0 ? "against" : ""}`}>{number(one.value)}</strong>
            {one.label !== null && (
              <>
                {" "}
                <span class="soft small">shows</span> <bdi>{one.label}</bdi>
              </>
            )}
            <br />
            <span class="soft small">
              {one.place && <>{one.place} · </>}
              <bdi>{one.name}</bdi>
            </span>
          </span>
        </figcaption>
      </figure>
    </li>
  );
}

// -- beside the examples ----------------------------------------------------------------------------------------------

function Activity({ unit }: { unit: UnitPage }): JSX.Element {
  const { histogram } = unit;
  return (
    <section aria-labelledby="activity">
      <h2 id="activity">Activity</h2>
      {histogram === null ? <Nothing>It was the same at every place, so there is no histogram.</Nothing> : <Brushed edges={histogram.edges} counts={histogram.tokens} />}
      <Numbers of={unit.statistics} />
    </section>
  );
}

function Brushed({ edges, counts }: { edges: number[]; counts: number[] }): JSX.Element {
  const chosen = chosenBins(edges);
  const sum = (from: number, to: number) => counts.slice(from, to + 1).reduce((a, b) => a + b, 0);
  const all = sum(0, counts.length - 1);
  return (
    <>
      <Histogram
        edges={edges}
        counts={counts}
        chosen={chosen}
        what="places"
        onChoose={(bins) => go(withQuery({ low: bins && String(edges[bins[0]]), high: bins && String(edges[bins[1] + 1]), kind: null }), chosen !== null && bins !== null)}
      />
      <p class="small soft" data-testid="chosen" aria-live="polite">
        {chosen ? (
          <>
            {number(edges[chosen[0]])} to {number(edges[chosen[1] + 1])}: {count(sum(...(chosen as [number, number])))} of {count(all)} places.{" "}
            <a href={withQuery({ low: null, high: null })}>show all</a>
          </>
        ) : (
          <>{count(all)} places on pictures, heights on a logarithmic scale. Drag over bars to see examples from there.</>
        )}
      </p>
    </>
  );
}

function Detects({ unit }: { unit: UnitPage }): JSX.Element | null {
  if (!unit.concepts.length) return null;
  return (
    <section aria-labelledby="concepts" data-testid="concepts">
      <h2 id="concepts">Classes it detects</h2>
      <table class="concepts">
        <caption class="small soft">by AUROC of its highest value in a picture, on pictures that they were not chosen on; 0.5 is chance</caption>
        <tbody>
          {unit.concepts.map((one) => (
            <tr key={one.concept} data-concept={one.concept} data-value={one.auroc.value}>
              <th scope="row">
                <bdi>{one.concept}</bdi> <span class="soft small">{count(one.auroc.n)} pictures</span>
              </th>
              <td>
                <Interval estimate={one.auroc} chance={0.5} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Promotes({ unit }: { unit: UnitPage }): JSX.Element {
  const reason = unit.not_known.promotes;
  const most = Math.max(...[...unit.promotes, ...unit.suppresses].map((one) => Math.abs(one.weight)), 1e-12);
  const bars = (list: TokenWeight[]): Bar[] => list.slice(0, SHOWN).map((one) => ({ label: <bdi>{one.text}</bdi>, value: one.weight }));
  return (
    <section aria-labelledby="writes" data-testid="writes">
      <h2 id="writes">Classes it writes</h2>
      {reason ? (
        <p class="small soft" data-testid="no-promotes">
          Not known: {reason}.
        </p>
      ) : (
        <>
          <Bars bars={bars(unit.promotes)} scale={most} testid="promotes" caption="classes that it promotes, by what it writes alone" />
          <Bars bars={bars(unit.suppresses)} scale={most} testid="suppresses" caption="classes that it suppresses" />
        </>
      )}
    </section>
  );
}

function Near({ unit }: { unit: UnitPage }): JSX.Element {
  const bars = (list: Neighbour[]): Bar[] =>
    list.slice(0, SHOWN).map((one) => ({
      label: (
        <span class="pictured">
          <Thumbnail of={one.key} />
          {one.name}
        </span>
      ),
      value: one.value,
      href: unitAddress(one.key),
      note: one.label,
    }));
  return (
    <section aria-labelledby="neighbours" data-testid="neighbours">
      <h2 id="neighbours">Neighbours</h2>
      {unit.similar.length > 0 && <Bars bars={bars(unit.similar)} scale={1} testid="similar" caption="units that write in the same direction: cosine" />}
      {unit.together.length > 0 && <Bars bars={bars(unit.together)} scale={1} testid="together" caption="units whose highest values rise and fall with its own from picture to picture: correlation" />}
    </section>
  );
}
