// Home of a recorded brain: what was recorded, where its units lie, and where to begin.
import "../../parts/recorded.css";
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { AtlasPage, RecordingView, Tissue } from "../../api/types";
import { bytes, count, number, plural } from "../../format";
import { Awaited } from "../../parts/States";
import { TissueMap } from "../../parts/TissueMap";
import { Title } from "../../parts/Title";
import { WrittenHere } from "../../parts/WrittenHere";
import { query, withQuery } from "../../route";
import { Units } from "./Begin";
import { Added, Made } from "./Layers";

/** The whole page. */
export function Recorded(): JSX.Element {
  const answer = useAnswer<AtlasPage>("/api/atlas");
  return <Awaited answer={answer}>{(page) => (page.recording ? <Whole page={page} of={page.recording} /> : <></>)}</Awaited>;
}

function Whole({ page, of }: { page: AtlasPage; of: RecordingView }): JSX.Element {
  const tissue = useAnswer<Tissue>("/api/tissue");
  const labels = [...of.trial_labels.map((name) => `${name} per trial`), ...of.time_labels.map((name) => `${name} over time`), ...of.unit_labels.map((name) => `${name} per unit`)];
  const chosen = query.value.get("group");
  return (
    <>
      <Title question="What is in this atlas, and where to begin?">{page.title}</Title>
      <p class="lead" data-testid="recording" data-units={page.n_units} data-trials={of.trials} data-samples={of.samples} data-rate={of.rate ?? ""}>
        <a href="/units">{plural(page.n_units, "unit")}</a> of a recorded brain, {plural(of.trials, "trial")} of {count(of.samples)} samples
        {of.rate === null ? "; nobody stated the rate" : ` at ${Number(of.rate.toPrecision(6))} Hz`}.<br />
        <span class="small soft" data-testid="cannot">
          {of.cannot}
        </span>
      </p>
      {page.notes.map((note) => (
        <p class="warn" role="note">
          {note}
        </p>
      ))}
      <Units page={page} />
      <section class="halves">
        {of.axes.length > 0 && (
          <div>
            <h2>Where they lie</h2>
            <Awaited answer={tissue}>{(map) => <TissueMap tissue={map} marked={map.groups.find((one) => one.name === chosen)?.mapped ?? []} />}</Awaited>
          </div>
        )}
        {of.groups.length > 0 && (
          <div>
            <h2>Groups</h2>
            <p class="small soft" data-testid="correlation" data-within={of.mean_r_within ?? ""} data-all={of.mean_r ?? ""}>
              mean r within groups {number(of.mean_r_within)}, of all pairs {number(of.mean_r)}
            </p>
            <ul class="layers" data-testid="groups">
              {of.groups.map((one) => (
                <li key={one.name} data-group={one.name} data-units={one.units}>
                  <a href={`/units?q=${encodeURIComponent(one.name)}`}>
                    <bdi>{one.name}</bdi>
                  </a>{" "}
                  <span class="soft small">{plural(one.units, "unit")}</span>
                  {of.axes.length > 0 && (
                    <>
                      {" "}
                      <a class="small" href={withQuery({ group: one.name === chosen ? null : one.name })} aria-current={one.name === chosen ? "true" : undefined}>
                        {one.name === chosen ? "unmark" : "mark on the map"}
                      </a>
                    </>
                  )}
                </li>
              ))}
            </ul>
            {of.n_groups > of.groups.length && <p class="small soft">and {count(of.n_groups - of.groups.length)} more</p>}
          </div>
        )}
      </section>
      <WrittenHere />
      <section class="halves">
        <div>
          <h2>What was recorded</h2>
          <dl class="pairs">
            <dt>file</dt>
            <dd>{page.corpus.name}</dd>
            <dt>units</dt>
            <dd data-testid="numbered">{of.numbered ? "counted from 0, in the file's order: it names none" : "called by the file's own names"}</dd>
            <dt>measure</dt>
            <dd>{of.measure}</dd>
            <dt>labels</dt>
            <dd>{labels.join(", ") || "none, so there is no tuning"}</dd>
            <dt>intervals</dt>
            <dd>{of.trials === of.blocks && of.trials > 1 ? `over ${count(of.blocks)} trials` : `over ${count(of.blocks)} blocks of time`}</dd>
            <dt>chance</dt>
            <dd>{of.shifts ? `of correlations, by ${count(of.shifts)} circular shifts in time` : "not measured: the recording is too short"}</dd>
            <dt>flaws</dt>
            <dd>
              <span data-testid="missing" data-value={of.missing}>
                {plural(of.missing, "missing sample")}
              </span>
              ,{" "}
              <span data-testid="constant" data-value={of.constant}>
                {plural(of.constant, "unit")} with one value throughout
              </span>
            </dd>
            <dt>on disk</dt>
            <dd>{bytes(page.bytes)}</dd>
            <dt>hashes</dt>
            <dd class="mono small">
              recording {page.subject.hash.slice(0, 12)} · atlas {page.hash.slice(0, 12)}
            </dd>
          </dl>
        </div>
        <Added layers={page.layers} />
      </section>
      <Made page={page} />
    </>
  );
}
