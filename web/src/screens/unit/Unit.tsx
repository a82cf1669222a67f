// Unit: what does it do, and how sure are we?
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { LabPage, UnitPage } from "../../api/types";
import { count, number, percent } from "../../format";
import { useKeys } from "../../keys";
import { Copy } from "../../parts/Command";
import { Later } from "../../parts/Later";
import { Awaited } from "../../parts/States";
import { Chip } from "../../parts/Text";
import { Origin, Title, useTitle } from "../../parts/Title";
import { go, unitAddress, withQuery } from "../../route";
import { Activity } from "./Activity";
import { Descriptions } from "./Descriptions";
import { Evidence } from "./Evidence";
import { Answers, Concepts, Reads, Together, Writes } from "./Panels";
import { Write } from "./Write";

// Only where a model is attached.
const trial = () => import("./Trial").then((m) => m.Trial);
// Only of models of images.
const pictures = () => import("./Pictures").then((m) => m.Pictures);

/** Everything that is known of one unit; `id` is its key. */
export default function Unit({ id }: { id: string }): JSX.Element {
  const url = `/api${unitAddress(id)}`;
  const answer = useAnswer<UnitPage>(url);
  useTitle(answer.state === "here" ? `${answer.data.site} ${answer.data.index}` : "Unit");
  return <Awaited answer={answer}>{(unit) => <Whole unit={unit} url={url} />}</Awaited>;
}

function Whole({ unit, url }: { unit: UnitPage; url: string }): JSX.Element {
  const lab = useAnswer<LabPage>("/api/lab");
  const turn = (key: string | null) => () => key !== null && go(unitAddress(key));
  useKeys({ "]": turn(unit.next), "[": turn(unit.previous) });
  return (
    <article data-testid="unit-page" data-key={unit.key}>
      <div class="head">
        <Title question="What does it do, and how sure are we?">
          <span class="mono key">
            <span class="soft">{unit.subject}/</span>
            <wbr />
            <a href={`/units?site=${encodeURIComponent(unit.site)}`}>{unit.site}</a>
            <span class="soft">/{unit.basis}/</span>
            <wbr />
            <b>{unit.index}</b>
          </span>
        </Title>
        <nav class="steps" aria-label="units beside this one">
          <Step to={unit.previous} words="← previous" id="previous" />
          <Step to={unit.next} words="next →" id="next" />
          <Copy text={location.origin + unitAddress(unit.key)} label="copy link" what="this page's address" />
          <Copy text={unit.key} label="copy key" what="the unit's key" />
        </nav>
      </div>
      {unit.modality === "image" ? <Later load={pictures} id={unit.key} /> : <OnText unit={unit} attached={lab.state === "here" && lab.data.attached} />}
      <Origin source={unit.source} twin={url} itself />
    </article>
  );
}

/** What is known of a unit of a language model. */
function OnText({ unit, attached }: { unit: UnitPage; attached: boolean }): JSX.Element {
  return (
    <>
      <Sum unit={unit} />
      <div class="unit">
        <div class="column">
          <div class="said">
            <Descriptions unit={unit} />
            <Write id={unit.key} />
          </div>
          {attached && (
            <div class="tried">
              <Later load={trial} id={unit.key} />
            </div>
          )}
          <div class="evidence">
            <Evidence unit={unit} />
          </div>
        </div>
        <div class="column">
          <div class="activity">
            <Activity unit={unit} />
          </div>
          <div class="rail">
            <Writes unit={unit} />
            <Reads unit={unit} />
            <Concepts unit={unit} />
            <Together unit={unit} />
            <Answers unit={unit} />
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

/** The unit in one line. */
function Sum({ unit }: { unit: UnitPage }): JSX.Element {
  const { statistics: s } = unit;
  if (unit.silent) {
    return (
      <p class="lead" data-testid="silent">
        never fired in {count(s.counted)} tokens{s.maximum !== null && <span class="soft">; its highest activation is {number(s.maximum)}</span>}
      </p>
    );
  }
  return (
    <p class="lead">
      fires on{" "}
      {unit.fires_on.slice(0, 4).map((token) => (
        <>
          <Chip token={token} />{" "}
        </>
      ))}
      <span class="soft">
        — at {percent(s.frequency)} of {count(s.counted)} tokens, up to{" "}
      </span>
      <strong class="num" data-testid="maximum" data-value={s.maximum ?? ""}>
        {number(s.maximum)}
      </strong>
      {s.minimum !== null && s.minimum < 0 && (
        <span class="soft" data-testid="minimum" data-value={s.minimum}>
          ; below zero down to <strong class="num">{number(s.minimum)}</strong>, <a href={withQuery({ kind: "quantile" })}>see low values</a>
        </span>
      )}
    </p>
  );
}
