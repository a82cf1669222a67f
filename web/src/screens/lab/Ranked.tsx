// The units that do most at the chosen token: by how active they are, or by what they carry of an answer.
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { AtlasPage, LabPage, NextToken, RankedUnit, Ranking, Tokens } from "../../api/types";
import { usualMode } from "../../clamps";
import { draft, drafted } from "../../draft";
import { count, number } from "../../format";
import { Awaited, Nothing } from "../../parts/States";
import { Chip, seen, Visible } from "../../parts/Text";
import { changed, local, path, placesOf, spelt, unitAddress } from "../../route";
import { asked, clampTo, focusNext, MOST_RANKED, shown } from "./state";

interface Props {
  lab: LabPage;
  tokens: Tokens;
  token: number;
  rows: NextToken[];
}

/** The ranking and its questions. */
export function Ranked({ lab, tokens, token, rows }: Props): JSX.Element {
  const now = asked.value;
  const last = tokens.tokens.length - 1;
  const position = Math.min(now.token ?? last, last);
  const by = lab.differentiates ? now.by : "activation";
  const question = new URLSearchParams({ text: now.text, position: String(position), by, limit: String(now.ranked) });
  if (now.site) question.set("site", now.site);
  if (by === "effect" && now.target !== null) question.set("target", String(now.target));
  if (by === "effect" && now.contrast !== null) question.set("contrast", String(now.contrast));
  const answer = useAnswer<Ranking>(`/api/lab/rank?${question}`);
  const atlas = useAnswer<AtlasPage>("/api/atlas");
  const sites = atlas.state === "here" ? placesOf(atlas.data.sites) : [];
  const text = tokens.tokens[token] as string;
  return (
    <section aria-labelledby="ranked">
      <h2 id="ranked">
        Active at{" "}
        <span class="chip" data-token={text}>
          <Visible text={text} bytes={tokens.bytes.includes(token)} />
        </span>
      </h2>
      <div class="asks">
        <Pick name="by" words="ranked by" value={by} options={[["activation", "activation"], ...(lab.differentiates ? [["effect", "effect on an answer"] as [string, string]] : [])]} none="activation" />
        {sites.length > 1 && <Pick name="site" words="site" value={now.site} options={[["", "all sites"], ...sites.map((site): [string, string] => [site, site])]} none="" />}
        {by === "effect" && (
          <>
            <Answers name="target" words="answer" none="the likeliest" rows={rows} />
            <Answers name="contrast" words="against" none="nothing" rows={rows} />
          </>
        )}
      </div>
      <Awaited answer={answer}>{(ranking) => <List ranking={ranking} />}</Awaited>
    </section>
  );
}

interface PickProps {
  name: string;
  words: string;
  value: string;
  options: [value: string, words: string][];
  none: string;
}

function Pick({ name, words, value, options, none }: PickProps): JSX.Element {
  // A value of the address may not be among the options.
  const listed = options.some(([one]) => one === value) ? options : [...options, [value, value] as [string, string]];
  return (
    <label>
      <span>{words}</span>
      <select name={name} data-testid={`ask-${name}`} value={value} onChange={(event) => draft({ [name]: event.currentTarget.value === none ? null : event.currentTarget.value }, name)}>
        {listed.map(([one, said]) => (
          <option key={one} value={one}>
            {said}
          </option>
        ))}
      </select>
    </label>
  );
}

/** Choose an answer from the table's rows. */
export function Answers({ name, words, none, rows }: { name: "target" | "contrast"; words: string; none: string; rows: NextToken[] }): JSX.Element {
  const now = shown.value[name];
  const options = rows.map((row): [string, string] => [String(row.id), row.bytes ? `bytes ${row.text}` : seen(row.text)]);
  if (now !== null && !options.some(([id]) => id === String(now))) options.push([String(now), `token ${now}`]);
  return <Pick name={name} words={words} value={now === null ? "" : String(now)} options={[["", none], ...options]} none="" />;
}

function List({ ranking }: { ranking: Ranking }): JSX.Element {
  if (!ranking.units.length) return <Nothing>None of the atlas's units is there.</Nothing>;
  const more = ranking.units.length < ranking.total && ranking.units.length < MOST_RANKED;
  return (
    <>
      {ranking.by === "effect" && ranking.target && (
        <p class="small soft" data-testid="metric" data-value={ranking.metric ?? ""}>
          what each carries of the logit of <Chip token={ranking.target} />
          {ranking.contrast && (
            <>
              {" "}
              less that of <Chip token={ranking.contrast} />
            </>
          )}
          , which is {number(ranking.metric)} with nothing clamped; predicted by {ranking.method}, not measured
        </p>
      )}
      <ol class="ranking" data-testid="ranking" data-position={ranking.position} data-by={ranking.by}>
        {ranking.units.map((unit) => (
          <Row key={unit.key} unit={unit} effect={ranking.by === "effect"} />
        ))}
      </ol>
      <p class="small soft" data-testid="ranked-shown">
        showing {count(ranking.units.length)} of {count(ranking.total)} units
        {more && (
          <>
            {" · "}
            <a href={path.value + spelt(changed(drafted.value, { ranked: String(MOST_RANKED) }))}>show {MOST_RANKED}</a>
          </>
        )}
      </p>
    </>
  );
}

function Row({ unit, effect }: { unit: RankedUnit; effect: boolean }): JSX.Element {
  const { clamps } = shown.value;
  const there = clamps.findIndex((one) => local(one.key) === local(unit.key));
  const clamp = () => {
    focusNext.value = there >= 0 ? there : clamps.length;
    if (there < 0) clampTo([...clamps, { key: unit.key, mode: usualMode(unit.key), value: null, at: "" }], "clamps");
  };
  const led = effect ? unit.effect : unit.value;
  return (
    <li data-testid="ranked" data-key={unit.key} data-value={unit.value ?? ""} data-effect={unit.effect ?? ""}>
      <div class="who">
        <a href={unitAddress(unit.key)} title={local(unit.key)}>
          {unit.name}
        </a>
        {unit.label && <span class="small soft">{unit.label}</span>}
      </div>
      <div class="how">
        <span class={`num ${(led ?? 0) < 0 ? "against" : ""}`}>
          {effect && led !== null && led !== 0 && (
            <span class={`small ${led < 0 ? "against" : "carries"}`} aria-hidden="true">
              {led < 0 ? "▼ " : "▲ "}
            </span>
          )}
          {number(led, effect)}
        </span>
        <Range unit={unit} />
      </div>
      <button type="button" onClick={clamp} aria-pressed={there >= 0} aria-label={`clamp ${unit.name}`}>
        {there >= 0 ? "clamped" : "clamp"}
      </button>
    </li>
  );
}

/** Where the value lies between the lowest and the highest that the atlas saw. */
function Range({ unit }: { unit: RankedUnit }): JSX.Element | null {
  const { minimum, maximum, value } = unit;
  if (minimum === null || maximum === null) return null;
  const [low, high] = [Math.min(minimum, 0), Math.max(maximum, 0)];
  if (low === high) return <span class="range small soft">never fired</span>;
  const at = (x: number) => `${Math.min(Math.max((x - low) / Math.max(high - low, 1e-12), 0), 1) * 100}%`;
  return (
    <span class="range small soft">
      <span class="num">{number(minimum)}</span>
      <span class="track" aria-hidden="true">
        <i class="chance" style={{ left: at(0) }} />
        {value !== null && <i class={`dot ${value < 0 ? "neg" : ""}`} style={{ left: at(value) }} />}
      </span>
      <span class="num">{number(maximum)}</span>
    </span>
  );
}
