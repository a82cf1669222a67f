// What only an attention head has: where it attends, over examples and over the text, and what its weights write and match.
import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";
import { useAnswer } from "../../api/ask";
import type { AttentionPage, AttentionShares, HeadPair, HeadPanels, LabPage, Neighbour, UnitPage } from "../../api/types";
import { count, number, percent } from "../../format";
import { Attention, weight } from "../../parts/Attention";
import { Awaited } from "../../parts/States";
import { Chip } from "../../parts/Text";
import { query, unitAddress, withQuery } from "../../route";

const SHOWN = 10;
/** Units that queries, or keys, read; the page as JSON has two more. */
const MOST_READ = 6;
const KINDS: [kind: string, name: string][] = [
  ["top", "highest"],
  ["random", "random"],
];
const SHARES: [name: keyof AttentionShares, words: string][] = [
  ["first", "the first token of the text"],
  ["itself", "the token itself"],
  ["previous", "the token before"],
  ["next", "the token after"],
  ["same", "others of the same text"],
  ["others", "all other tokens"],
];

type Shown = UnitPage & { head: HeadPanels };

/** The head's attention: over an example that one chooses, or a text of one's own. */
export function Patterns({ unit, lab }: { unit: Shown; lab: LabPage | null }): JSX.Element {
  const listed = KINDS.flatMap(([kind, name]) => (unit.head.patterns[kind] ?? []).map((rank) => ({ kind, name, rank })));
  const [chosen, choose] = useState(0);
  const own = query.value.get("try") ?? "";
  const live = lab?.attached && own !== "";
  const one = listed[Math.min(chosen, listed.length - 1)];
  const stored = one ? `/api${unitAddress(unit.key)}/attention?kind=${one.kind}&rank=${one.rank}` : null;
  const answer = useAnswer<AttentionPage>(live ? `/api/lab/attention?text=${encodeURIComponent(own)}&layer=${unit.layer}&head=${unit.index}` : stored);
  return (
    <section aria-labelledby="patterns" data-testid="patterns">
      <div class="row">
        <h2 id="patterns">Where it attends</h2>
        {live ? (
          <p class="small soft">
            on the text that you wrote · <a href={withQuery({ try: null })}>back to the examples</a>
          </p>
        ) : (
          <Choice listed={listed} chosen={chosen} choose={choose} />
        )}
      </div>
      {live || stored ? (
        <Awaited answer={answer}>{(page) => <Attention page={page} />}</Awaited>
      ) : (
        <p class="small soft">No example's pattern was kept.</p>
      )}
    </section>
  );
}

/** Which example is drawn, the highest first; arrow keys go from one to the next as in any list of options. */
function Choice({ listed, chosen, choose }: { listed: { kind: string; name: string; rank: number }[]; chosen: number; choose: (i: number) => void }): JSX.Element | null {
  if (listed.length < 2) return null;
  return (
    <label class="inline small soft">
      example
      <select value={String(chosen)} onChange={(event) => choose(Number(event.currentTarget.value))} data-testid="which-example">
        {listed.map(({ name, rank }, i) => (
          <option key={i} value={String(i)}>
            {name} {rank + 1}
          </option>
        ))}
      </select>
    </label>
  );
}

function Panel({ id, title, children }: { id: string; title: string; children: ComponentChildren }): JSX.Element {
  return (
    <section aria-labelledby={id} data-testid={id}>
      <h2 id={id}>{title}</h2>
      {children}
    </section>
  );
}

/** Where its attention goes over the text. */
export function Shares({ unit }: { unit: Shown }): JSX.Element {
  const { shares, attends } = unit.head;
  const known = SHARES.filter(([name]) => name !== "next" || shares.next);
  return (
    <Panel id="over-text" title="Over the text">
      {shares.first === null ? (
        <p class="small soft">Its attention is not finite.</p>
      ) : (
        <table class="bars shares">
          <caption class="small soft">mean attention of {count(shares.targets)} target tokens; each weight counts once</caption>
          <tbody>
            {known.map(([name, words]) => (
              <tr key={name} data-share={name} data-value={shares[name]}>
                <th scope="row">{words}</th>
                <td class="bar" aria-hidden="true">
                  <i class="pos" style={{ width: `${(shares[name] ?? 0) * 100}%` }} />
                </td>
                <td class="num">{percent(shares[name])}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <Pairs
        pairs={attends}
        testid="attends"
        caption="pairs with the most attention in sum: for each target the other token that it attends to most, the first of the text left out"
        none="it attends to nothing but the first token"
        columns={["mean, %", "times"]}
        cells={(pair) => [weight(pair.weight), count(pair.n)]}
      />
    </Panel>
  );
}

interface PairsProps {
  pairs: HeadPair[];
  testid: string;
  caption: string;
  none: string;
  columns: string[];
  cells: (pair: HeadPair) => string[];
}

/** Pairs of tokens, the target's row pointing at its source. */
function Pairs({ pairs, testid, caption, none, columns, cells }: PairsProps): JSX.Element {
  if (!pairs.length) return <p class="small soft">{`${caption}: ${none}`}</p>;
  return (
    <table class="headed tokens-of-head" data-testid={testid}>
      <caption class="small soft">{caption}</caption>
      <thead>
        <tr>
          <th scope="col">target → source</th>
          {columns.map((name) => (
            <th scope="col" class="n" key={name}>
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {pairs.slice(0, SHOWN).map((pair, i) => (
          <tr key={i} data-source={pair.source.text} data-target={pair.target.text} data-weight={pair.weight}>
            <th scope="row">
              <Chip token={pair.target} /> <span class="soft">→</span> <Chip token={pair.source} />
            </th>
            {cells(pair).map((text, k) => (
              <td class="n" key={k}>
                {text}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** What W_V and W_O write where it attends to a token. */
export function HeadWrites({ unit }: { unit: Shown }): JSX.Element {
  const { writes, copies, erases, tried } = unit.head;
  return (
    <Panel id="ov" title="Writes">
      {writes.length ? (
        <table class="headed tokens-of-head" data-testid="ov-tokens">
          <caption class="small soft">
            what attending to a token promotes, by its embedding and the weights alone; the strongest of {count(tried)} frequent tokens, in logits before the last norm
          </caption>
          <thead>
            <tr>
              <th scope="col">source</th>
              <th scope="col">promotes</th>
              <th scope="col" class="n">
                logits
              </th>
            </tr>
          </thead>
          <tbody>
            {writes.slice(0, SHOWN).map((one) => (
              <tr key={one.source.id} data-source={one.source.text} data-promoted={one.promoted[0]?.text}>
                <th scope="row">
                  <Chip token={one.source} />
                </th>
                <td>
                  {one.promoted.map((token) => (
                    <>
                      <Chip token={token} />{" "}
                    </>
                  ))}
                </td>
                <td class="n">{number(one.promoted[0]?.weight, true)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      ) : (
        <p class="small soft">By the weights alone it promotes nothing where it attends to frequent tokens.</p>
      )}
      <p class="small" data-testid="copies" data-value={copies}>
        It copies <b class="num">{percent(copies)}</b> of these tokens: none is promoted more than the token itself.
        {erases >= 0.01 && (
          <>
            {" "}
            It erases <b class="num">{percent(erases)}</b>: none is suppressed more.
          </>
        )}
      </p>
    </Panel>
  );
}

/** What queries and keys match: tokens, and the units before it that they read. */
export function HeadReads({ unit }: { unit: Shown }): JSX.Element {
  const { matches, query_reads, key_reads } = unit.head;
  return (
    <Panel id="qk" title="Looks for">
      <Pairs
        pairs={matches}
        testid="matches"
        caption="tokens whose query and key match most, by their embeddings alone; positions are left out, and what earlier blocks add"
        none="none stands out"
        columns={["q · k"]}
        cells={(pair) => [number(pair.weight, true)]}
      />
      <ReadUnits unit={unit} field="query_reads" list={query_reads} who="queries" />
      <ReadUnits unit={unit} field="key_reads" list={key_reads} who="keys" />
    </Panel>
  );
}

/** Earlier units whose write direction its queries or keys read most. */
function ReadUnits({ unit, field, list, who }: { unit: Shown; field: string; list: Neighbour[]; who: string }): JSX.Element {
  const caption = `earlier units that its ${who} read most, by what they write and the weights alone`;
  if (!list.length) return <p class="small soft" data-testid={`no-${field}`}>{`${caption}: ${unit.not_known[field] ?? "none stands out"}`}</p>;
  return (
    <table class="headed tokens-of-head" data-testid={field}>
      <caption class="small soft">{caption}; 1 is a unit drawn at random from the same site</caption>
      <thead>
        <tr>
          <th scope="col">unit</th>
          <th scope="col" class="n">
            times
          </th>
        </tr>
      </thead>
      <tbody>
        {list.slice(0, MOST_READ).map((one) => (
          <tr key={one.key} data-unit={one.key} data-value={one.value}>
            <th scope="row">
              <a href={unitAddress(one.key)}>{one.name}</a>
              {one.label && (
                <>
                  <br />
                  <span class="soft small">{one.label}</span>
                </>
              )}
            </th>
            <td class="n">{number(one.value)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
