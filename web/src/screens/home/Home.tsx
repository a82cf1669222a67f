// Home: what is in this atlas, and where to begin?
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { AtlasPage, LabPage, SiteRow } from "../../api/types";
import { bytes, count, percent, plural } from "../../format";
import { Later } from "../../parts/Later";
import { Awaited } from "../../parts/States";
import { Title, useTitle } from "../../parts/Title";
import { WrittenHere } from "../../parts/WrittenHere";
import { placesOf } from "../../route";
import { AskFirst, Explained, Units } from "./Begin";
import { Blocks } from "./Blocks";
import { Added, Made } from "./Layers";
import { Path } from "./Path";

// Only of recorded brains.
const recorded = () => import("./Recorded").then((m) => m.Recorded);

/** Where to begin, the network at a glance, and what was read. */
export default function Home(): JSX.Element {
  const answer = useAnswer<AtlasPage>("/api/atlas");
  useTitle(answer.state === "here" ? answer.data.title : "Home");
  return <Awaited answer={answer}>{(page) => (page.modality === "recording" ? <Later load={recorded} /> : <Whole page={page} />)}</Awaited>;
}

function Whole({ page }: { page: AtlasPage }): JSX.Element {
  const { corpus, subject } = page;
  const pictures = page.modality === "image";
  const lab = useAnswer<LabPage>("/api/lab");
  return (
    <>
      <Title question="What is in this atlas, and where to begin?">{page.title}</Title>
      <p class="lead">
        {plural(page.n_units, "unit")} of {subject.architecture}, over {plural(corpus.counted, pictures ? "picture" : "token")} of <cite>{corpus.name}</cite>.
      </p>
      {page.notes.map((note) => (
        <p class="warn" role="note">
          {note}
        </p>
      ))}
      <Blocks sites={page.sites} />
      <div class="door">
        {!pictures && <AskFirst page={page} />}
        <Explained rows={page.explained} />
      </div>
      {!pictures && <Path page={page} attached={lab.state === "here" && lab.data.attached} />}
      <WrittenHere />
      <Units page={page} />
      <section>
        <h2>Sites</h2>
        <Sites sites={page.sites} />
        <dl class="facts">
          <Fact name="units" value={page.n_units} id="n_units" href="/units" />
          <Fact name="described" value={page.n_described} id="n_described" share={page.n_units} href="/units?described=true" />
          <Fact name="described and scored" value={page.n_scored} id="n_scored" share={page.n_units} href="/units?min_score=0" />
          <Fact name="never fired" value={page.n_silent} id="n_silent" share={page.n_units} href="/units?max_maximum=0" />
          <Fact name="examples" value={page.n_examples} id="n_examples" />
          <div>
            <dt>on disk</dt>
            <dd data-testid="bytes" data-value={page.bytes}>
              {bytes(page.bytes)}
            </dd>
          </div>
        </dl>
      </section>
      <section class="halves">
        <div>
          <h2>What was read</h2>
          <dl class="pairs">
            {pictures ? (
              <>
                <dt>pictures</dt>
                <dd data-testid="pictures" data-value={corpus.stimuli}>
                  {count(corpus.stimuli)} of {corpus.name}
                </dd>
                <dt>classes</dt>
                <dd>{corpus.labelled ? `of ${plural(corpus.labelled, "labelled picture")}` : "the pictures carry no labels, so no class is detected"}</dd>
              </>
            ) : (
              <>
                <dt>text</dt>
                <dd>{corpus.name}</dd>
                <dt>tokens</dt>
                <dd>
                  {count(corpus.counted)} counted of {count(corpus.tokens)}: special ones are left out
                </dd>
                <dt>windows</dt>
                <dd>
                  {count(corpus.stimuli)} of at most {count(corpus.window)} tokens
                </dd>
                <dt>concepts</dt>
                <dd>{corpus.labelled ? `${plural(corpus.labelled, "labelled token")}` : "the text carries no labels: tokens and classes of tokens are measured instead"}</dd>
              </>
            )}
            <dt>model</dt>
            <dd>
              {subject.name}: {subject.architecture}, {subject.dtype}
            </dd>
            <dt>hashes</dt>
            <dd class="mono small">
              {pictures ? "pictures" : "text"} {corpus.hash.slice(0, 12)} · model {subject.hash.slice(0, 12)} · atlas {page.hash.slice(0, 12)}
            </dd>
          </dl>
        </div>
        <Added layers={page.layers} />
      </section>
      <Made page={page} />
    </>
  );
}

/** A number with its name; nothing where it is zero. */
function Fact(of: { name: string; value: number; id: string; share?: number; href?: string }): JSX.Element | null {
  if (of.value === 0) return null;
  return (
    <div>
      <dt>{of.name}</dt>
      <dd data-testid={of.id} data-value={of.value}>
        {of.href ? <a href={of.href}>{count(of.value)}</a> : count(of.value)}
        {of.share ? <small class="soft"> {percent(of.value / of.share)}</small> : null}
      </dd>
    </div>
  );
}

/** The sites in words; columns in which every row would be zero are left out. */
function Sites({ sites }: { sites: SiteRow[] }): JSX.Element {
  const places = placesOf(sites);
  const described = sites.some((site) => site.described > 0);
  const silent = sites.some((site) => site.silent > 0);
  const cell = (n: number, name: string) => (
    <td class="n" data-label={n ? name : undefined}>
      {n ? count(n) : ""}
    </td>
  );
  return (
    <table class="sites" data-testid="sites">
      <thead>
        <tr>
          <th scope="col">site</th>
          <th scope="col" class="n">
            units
          </th>
          {described && (
            <th scope="col" class="n">
              described
            </th>
          )}
          {silent && (
            <th scope="col" class="n">
              never fired
            </th>
          )}
        </tr>
      </thead>
      <tbody>
        {sites.map((site, i) => (
          <tr key={`${site.site}/${site.basis}`}>
            <th scope="row">
              <a href={`/units?site=${encodeURIComponent(places[i] as string)}`}>{site.name}</a>{" "}
              <span class="place mono soft">{places[i]}</span>
            </th>
            {cell(site.units, "units")}
            {described && cell(site.described, "described")}
            {silent && cell(site.silent, "never fired")}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
