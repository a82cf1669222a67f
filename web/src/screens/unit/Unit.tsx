// Unit: what does it do, and how sure are we?
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { LabPage, UnitPage } from "../../api/types";
import { count, number } from "../../format";
import { useKeys } from "../../keys";
import { Copy } from "../../parts/Command";
import { Later } from "../../parts/Later";
import { Awaited } from "../../parts/States";
import { Line } from "../../parts/Line";
import { Origin, Title, useTitle } from "../../parts/Title";
import { go, unitAddress, withQuery } from "../../route";
import { Activity } from "./Activity";
import { Descriptions } from "./Descriptions";
import { Evidence } from "./Evidence";
import { HeadReads, HeadWrites, Patterns, Shares } from "./Head";
import { Answers, Concepts, Reads, Together, Writes } from "./Panels";
import { Write } from "./Write";

// Only where a model is attached.
const trial = () => import("./Trial").then((m) => m.Trial);
const describe = () => import("./Describe").then((m) => m.Describe);
// Only of models of images.
const pictures = () => import("./Pictures").then((m) => m.Pictures);

// Only of recorded brains.
const recorded = () => import("./Recorded").then((m) => m.Recorded);

/** Everything that is known of one unit; `id` is its key. */
export default function Unit({ id }: { id: string }): JSX.Element {
  const url = `/api${unitAddress(id)}`;
  const answer = useAnswer<UnitPage>(url);
  useTitle(answer.state === "here" ? answer.data.name : "Unit");
  return <Awaited answer={answer}>{(unit) => <Whole unit={unit} url={url} />}</Awaited>;
}

function Whole({ unit, url }: { unit: UnitPage; url: string }): JSX.Element {
  const lab = useAnswer<LabPage>("/api/lab");
  const turn = (key: string | null) => () => key !== null && go(unitAddress(key));
  useKeys({ "]": turn(unit.next), "[": turn(unit.previous) });
  return (
    <article data-testid="unit-page" data-key={unit.key}>
      <div class="head">
        <div class="title">
          <Title question="What does it do, and how sure are we?">{unit.name}</Title>
          <span class="place mono soft">
            {unit.subject}/<a href={`/units?site=${encodeURIComponent(`${unit.site}/${unit.basis}`)}`}>{unit.site}</a>/{unit.basis}/{unit.index}
          </span>
        </div>
        <nav class="steps" aria-label="units beside this one">
          <Step to={unit.previous} words="← previous" id="previous" />
          <Step to={unit.next} words="next →" id="next" />
          <Copy text={location.origin + unitAddress(unit.key)} label="copy link" what="this page's address" />
          <Copy text={unit.key} label="copy key" what="the unit's key" />
        </nav>
      </div>
      {unit.modality === "image" || unit.modality === "recording" ? (
        <Later load={unit.modality === "image" ? pictures : recorded} id={unit.key} />
      ) : (
        <OnText unit={unit} lab={lab.state === "here" ? lab.data : null} />
      )}
      <Origin source={unit.source} twin={url} itself />
    </article>
  );
}

/** What is known of a unit of a language model. */
function OnText({ unit, lab }: { unit: UnitPage; lab: LabPage | null }): JSX.Element {
  const head = unit.head && { ...unit, head: unit.head };
  return (
    <>
      <Sum unit={unit} />
      <div class="unit">
        <div class="column">
          {head && (
            <div class="patterns-of-head">
              <Patterns unit={head} lab={lab} />
            </div>
          )}
          {(unit.descriptions.length > 0 || lab?.attached) && (
            <div class="said">
              {unit.descriptions.length > 0 && <Descriptions unit={unit} />}
              {lab?.attached && <Later load={describe} id={unit.key} />}
            </div>
          )}
          <div class="role">
            <Answers unit={unit} />
          </div>
          <div class="evidence">
            <Evidence unit={unit} />
          </div>
          {lab?.attached && (
            <div class="tried">
              <Later load={trial} id={unit.key} />
            </div>
          )}
          <div class="beside">
            <Together unit={unit} />
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
            {head ? (
              <>
                <Shares unit={head} />
                <HeadWrites unit={head} />
                <HeadReads unit={head} />
              </>
            ) : (
              <>
                <Writes unit={unit} />
                <Reads unit={unit} />
              </>
            )}
            <Concepts unit={unit} />
          </div>
        </div>
      </div>
    </>
  );
}

function Step({ to, words, id }: { to: string | null; words: string; id: string }): JSX.Element {
  if (to === null) return <span class="soft">{words}</span>;
  return (
    <a href={unitAddress(to)} data-testid={id}>
      {words}
    </a>
  );
}

/** The unit in one line, and the range of its activation. */
function Sum({ unit }: { unit: UnitPage }): JSX.Element {
  const { statistics: s } = unit;
  const range = (
    <span class="small soft range-of">
      {s.minimum !== null && s.minimum < 0 && (
        <>
          from{" "}
          <span class="num" data-testid="minimum" data-value={s.minimum}>
            {number(s.minimum)} (<a href={withQuery({ kind: "lowest", low: null, high: null })}>lowest</a>)
          </span>{" "}
        </>
      )}
      up to{" "}
      <strong class="num" data-testid="maximum" data-value={s.maximum ?? ""}>
        {number(s.maximum)}
      </strong>{" "}
      in {count(s.counted)} tokens
      {unit.basis === "heads" && ", of the norm of the values that the head mixes (z)"}
    </span>
  );
  return (
    <div class="lead">
      <Line parts={unit.silent ? unit.line.parts.filter((part) => part.of !== "fires") : unit.line.parts} />{" "}
      {unit.silent ? <Silent unit={unit} /> : range}
    </div>
  );
}

/** A unit that never rose above zero may still act below it. */
function Silent({ unit }: { unit: UnitPage }): JSX.Element {
  const { counted, minimum, maximum } = unit.statistics;
  const below = minimum !== null && minimum < 0;
  return (
    <p class="small" data-testid="silent">
      never fired in {count(counted)} tokens
      {below ? (
        <>
          : it acts only below zero, down to{" "}
          <span class="num" data-testid="minimum" data-value={minimum}>
            {number(minimum)}
          </span>
          ; what it detects is read from how far below
        </>
      ) : (
        maximum !== null && <span class="soft">; its highest activation is {number(maximum)}</span>
      )}
    </p>
  );
}
