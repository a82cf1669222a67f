// Home: what is in this atlas?
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { AtlasPage, LayerRow, SiteRow, UnitList } from "../../api/types";
import { bytes, count, number, percent, plural } from "../../format";
import { Command } from "../../parts/Command";
import { Known } from "../../parts/Known";
import { Awaited, Nothing } from "../../parts/States";
import { Chip } from "../../parts/Text";
import { Origin, Title, useTitle } from "../../parts/Title";
import { WrittenHere } from "../../parts/WrittenHere";
import { placesOf, unitAddress } from "../../route";

const FIRST = 6;

/** The whole atlas at a glance, with a few units to begin at. */
export default function Home(): JSX.Element {
  const answer = useAnswer<AtlasPage>("/api/atlas");
  useTitle(answer.state === "here" ? answer.data.subject.name : "Home");
  return <Awaited answer={answer}>{(page) => <Whole page={page} />}</Awaited>;
}

function Whole({ page }: { page: AtlasPage }): JSX.Element {
  const { corpus, subject } = page;
  return (
    <>
      <Title question="What is in this atlas?">{subject.name}</Title>
      <p class="lead">
        {plural(page.n_units, "unit")} of {subject.architecture}, watched over {count(corpus.counted)} tokens of{" "}
        <cite>{corpus.name}</cite>.
      </p>
      {page.notes.map((note) => (
        <p class="warn" role="note">
          {note}
        </p>
      ))}
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
      <section>
        <h2>Sites</h2>
        <Sites sites={page.sites} />
      </section>
      <WrittenHere />
      <Begin page={page} />
      <section class="halves">
        <div>
          <h2>What was read</h2>
          <dl class="pairs">
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
            <dt>labels</dt>
            <dd>{corpus.labelled ? `${plural(corpus.labelled, "labelled token")}` : "the text carries none, so no concept is scored"}</dd>
            <dt>model</dt>
            <dd>
              {subject.architecture}, {subject.dtype}
            </dd>
            <dt>hashes</dt>
            <dd class="mono small">
              text {corpus.hash.slice(0, 12)} · model {subject.hash.slice(0, 12)} · atlas {page.hash.slice(0, 12)}
            </dd>
          </dl>
        </div>
        <div>
          <h2>What was added</h2>
          <Layers layers={page.layers} />
        </div>
      </section>
      {page.baked !== page.source.command && <Command command={page.baked}>Baked by</Command>}
      <Origin source={page.source} twin="/api/atlas" />
    </>
  );
}

function Fact(of: { name: string; value: number; id: string; share?: number; href?: string }): JSX.Element {
  return (
    <div>
      <dt>{of.name}</dt>
      <dd data-testid={of.id} data-value={of.value}>
        {of.href && of.value > 0 ? <a href={of.href}>{count(of.value)}</a> : count(of.value)}
        {of.share ? <small class="soft"> {percent(of.value / of.share)}</small> : null}
      </dd>
    </div>
  );
}

function Sites({ sites }: { sites: SiteRow[] }): JSX.Element {
  const places = placesOf(sites);
  return (
    <table class="sites" data-testid="sites">
      <thead>
        <tr>
          <th scope="col">site</th>
          <th scope="col">basis</th>
          <th scope="col" class="n">
            units
          </th>
          <th scope="col" class="wide">
            <span class="key described">described</span> <span class="key fired">fired</span> <span class="key silent">never fired</span>
          </th>
          <th scope="col" class="n">
            described
          </th>
          <th scope="col" class="n">
            never fired
          </th>
        </tr>
      </thead>
      <tbody>
        {sites.map((site, i) => (
          <tr key={`${site.site}/${site.basis}`}>
            <th scope="row">
              <a href={`/units?site=${encodeURIComponent(places[i] as string)}`}>{site.site}</a>
            </th>
            <td class="soft">{site.basis}</td>
            <td class="n" data-label="units">
              {count(site.units)}
            </td>
            <td class="wide" aria-hidden="true">
              <Share site={site} />
            </td>
            <td class="n" data-label="described">
              {count(site.described)}
            </td>
            <td class="n" data-label="never fired">
              {count(site.silent)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** One bar per site: described, the rest that fired, and hatched what never did. */
function Share({ site }: { site: SiteRow }): JSX.Element {
  const part = (n: number) => ({ width: `${(n / Math.max(site.units, 1)) * 100}%` });
  const fired = Math.max(site.units - site.silent, 0);
  return (
    <span class="share">
      <i class="fired" style={part(fired)}>
        <i class="described" style={{ width: `${(Math.min(site.described, fired) / Math.max(fired, 1)) * 100}%` }} />
      </i>
      <i class="silent" style={part(site.silent)} />
    </span>
  );
}

/** A few units to begin at: the best scored, the best tellers of a concept, or the loudest. */
function Begin({ page }: { page: AtlasPage }): JSX.Element {
  const [asked, words] = page.n_scored
    ? ["sort=score&descending=true&min_score=0", "The best scored descriptions"]
    : page.corpus.labelled
      ? ["sort=concept&descending=true", "The best detectors of a labelled concept"]
      : ["sort=maximum&descending=true", "The highest activations"];
  const answer = useAnswer<UnitList>(`/api/units?${asked}&limit=${FIRST}`);
  return (
    <section>
      <h2>Where to begin</h2>
      <Awaited answer={answer}>
        {(list) => (
          <>
            <p class="soft small">
              {words}: showing {count(list.rows.length)} of{" "}
              <a href={`/units?${asked}`}>{plural(list.total, "unit")}</a>.
            </p>
            <ol class="plates" data-testid="begin">
              {list.rows.map((row) => (
                <li key={row.key}>
                  <a class="cover mono" href={unitAddress(row.key)}>
                    {row.site} <b>{row.index}</b>
                  </a>
                  <Known row={row} />
                  <span class="row small soft">
                    {row.fires_on && <Chip token={row.fires_on} />}
                    <span>
                      max <span class="num">{number(row.maximum)}</span>
                    </span>
                    <span>
                      fires at <span class="num">{percent(row.frequency)}</span>
                    </span>
                  </span>
                </li>
              ))}
            </ol>
          </>
        )}
      </Awaited>
    </section>
  );
}

function Layers({ layers }: { layers: LayerRow[] }): JSX.Element {
  if (!layers.length) {
    return (
      <Nothing>
        Nothing yet. <code>patchclamp explain … --atlas</code> adds an explained answer.
      </Nothing>
    );
  }
  return (
    <ul class="layers" data-testid="layers">
      {layers.map((layer) => (
        <li key={layer.id}>
          <a href={`/runs/${encodeURIComponent(layer.id)}`}>{layer.title || layer.id}</a>
          <br />
          <span class="soft small">
            {layer.kind === "graph" ? `an explained answer of ${plural(layer.rows, "node")}` : plural(layer.rows, "description")},{" "}
            {bytes(layer.bytes)}
          </span>
        </li>
      ))}
    </ul>
  );
}
