// What the unit writes, what it reads, which concepts it detects, and which units are near it.
import type { ComponentChildren, JSX } from "preact";
import type { ConceptScore, Neighbour, TokenWeight, UnitPage } from "../../api/types";
import { count, number, plural } from "../../format";
import { Grade } from "../../parts/Verdict";
import { type Bar, Bars } from "../../parts/Bars";
import { Interval } from "../../parts/Interval";
import { Chip, Visible } from "../../parts/Text";
import { graphAddress, unitAddress } from "../../route";

interface Panel {
  unit: UnitPage;
}

function Panel({ id, title, children }: { id: string; title: string; children: ComponentChildren }): JSX.Element {
  return (
    <section aria-labelledby={id} data-testid={id}>
      <h2 id={id}>{title}</h2>
      {children}
    </section>
  );
}

/** A list under its caption, or the reason why there is none. */
function Listed(of: { unit: UnitPage; field: keyof UnitPage & string; bars: Bar[]; caption: string; none: string; scale?: number }): JSX.Element {
  const reason = of.unit.not_known[of.field];
  if (!of.bars.length) {
    return (
      <p class="small soft" data-testid={`no-${of.field}`}>
        {of.caption}: {reason ?? of.none}
      </p>
    );
  }
  const listed = of.bars.length > 1 ? `${of.caption}; the strongest ${of.bars.length}` : of.caption;
  const note = of.unit.approximate[of.field];
  const caption = note ? `${listed} (${note})` : listed;
  return <Bars bars={of.bars} caption={caption} testid={of.field} {...(of.scale !== undefined && { scale: of.scale })} />;
}

/** The strongest few; the page as JSON has more. */
const SHOWN = 8;

const tokens = (list: TokenWeight[]): Bar[] => list.slice(0, SHOWN).map((token) => ({ label: <Chip token={token} />, value: token.weight }));
const largest = (...lists: (TokenWeight[] | Neighbour[])[]) =>
  Math.max(...lists.flat().map((one) => Math.abs("weight" in one ? one.weight : one.value)), 1e-12);

/** What it promotes and suppresses in the output. */
export function Writes({ unit }: Panel): JSX.Element {
  const scale = largest(unit.promotes, unit.suppresses);
  return (
    <Panel id="writes" title="What it promotes">
      <Listed unit={unit} field="promotes" bars={tokens(unit.promotes)} scale={scale} caption="tokens that it promotes, by its write direction alone" none="none" />
      <Listed unit={unit} field="suppresses" bars={tokens(unit.suppresses)} scale={scale} caption="tokens that it suppresses" none="none" />
    </Panel>
  );
}

/** What drives it: tokens' embeddings, and units before it. */
export function Reads({ unit }: Panel): JSX.Element {
  const scale = largest(unit.excited_by, unit.inhibited_by);
  return (
    <Panel id="reads" title="What drives it">
      <Listed unit={unit} field="excited_by" bars={tokens(unit.excited_by)} scale={scale} caption="tokens whose embedding drives it" none="none" />
      <Listed unit={unit} field="inhibited_by" bars={tokens(unit.inhibited_by)} scale={scale} caption="tokens whose embedding holds it down" none="none" />
      <Listed unit={unit} field="driven_by" bars={units(unit.driven_by)} caption="earlier units that drive it: read · write" none="none before it" />
    </Panel>
  );
}

/** Units with the nearest write direction, and those that rise and fall with it. */
export function Together({ unit }: Panel): JSX.Element {
  return (
    <Panel id="neighbours" title="Neighbours">
      <Listed unit={unit} field="similar" bars={units(unit.similar)} scale={1} caption="units that write in the same direction: cosine" none="none" />
      <Listed unit={unit} field="together" bars={units(unit.together)} scale={1} caption="units that rise and fall with it: correlation" none="none" />
    </Panel>
  );
}

function units(list: Neighbour[]): Bar[] {
  return list.slice(0, SHOWN).map((one) => {
    return { label: one.name, value: one.value, href: unitAddress(one.key), note: one.label };
  });
}

/** Labelled concepts that it detects. */
export function Concepts({ unit }: Panel): JSX.Element | null {
  const reason = unit.not_known.concepts;
  if (!unit.concepts.length && !reason) return null;
  return (
    <Panel id="concepts" title="Concepts it detects">
      {unit.concepts.length ? (
        <table class="concepts">
          <caption class="small soft">by AUROC on text that they were not chosen on; 0.5 is chance, and below 0.8 it says little</caption>
          <tbody>
            {unit.concepts.map((one) => (
              <Concept key={one.concept} one={one} />
            ))}
          </tbody>
        </table>
      ) : (
        <p class="small soft">{reason}</p>
      )}
    </Panel>
  );
}

/** A concept in grey says little: it is below .8, or its interval touches chance. */
function Concept({ one }: { one: ConceptScore }): JSX.Element {
  const { value, low } = one.auroc;
  const touches = low === null || low <= 0.5;
  const weak = touches || value === null || value < 0.8;
  return (
    <tr class={weak ? "weak" : ""} data-concept={one.concept} data-kind={one.kind} data-value={value}>
      <th scope="row">
        {one.concept.replace(/_/g, " ")} <span class="soft small">{plural(one.auroc.n, "token")}</span>
        {weak && <span class="soft small">: {touches ? "its interval touches chance" : "below 0.8"}</span>}
      </th>
      <td>
        <Interval estimate={one.auroc} chance={0.5} />
      </td>
    </tr>
  );
}

/** Explained answers that it stands in. */
export function Answers({ unit }: Panel): JSX.Element | null {
  if (!unit.graphs.length) return null;
  return (
    <Panel id="answers" title="Explained answers">
      <ul class="layers">
        {unit.graphs.map((graph) => (
          <li key={`${graph.id}@${graph.position}`}>
            <a href={graphAddress(graph.id, graph.position === null ? unit.key : `${unit.key}@${graph.position}`)}>
              {graph.prompt} → <Visible text={graph.target} />
            </a>
            <br />
            <span class="soft small">
              predicted <span class="num">{number(graph.score, true)}</span>
              {graph.measured !== null && (
                <>
                  , measured <span class="num">{number(graph.measured, true)}</span>
                </>
              )}
              {graph.position !== null && <> at position {count(graph.position)}</>}
              {graph.grade && (
                <>
                  . <Grade of={graph.grade} />
                  {graph.sentence.slice(graph.sentence.indexOf(":"))}
                </>
              )}
            </span>
          </li>
        ))}
      </ul>
    </Panel>
  );
}
