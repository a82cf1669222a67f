// What is chosen, what flows in and out of it, and the groups.
import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";
import type { GraphPage } from "../../api/types";
import { count, number, plural } from "../../format";
import { Bars } from "../../parts/Bars";
import { MOST_CLAMPS, clampAddress, isClamped, otherText, shownText } from "../../parts/ClampCauses";
import { Visible } from "../../parts/Text";
import { unitAddress, withQuery } from "../../route";
import { ENDS, type Item, type Link, type Merged, first, nameOf, suggestions } from "./merge";
import { HeadPattern } from "./HeadPattern";
import { Sign } from "./Sign";
import { LONGEST_NAME, choose, choosing, groups, idOf, makeGroup, onlyPinned, pin, pins, rename, ungroup } from "./state";

const RANKED = 12;

interface Props {
  page: GraphPage;
  merged: Merged;
  chosen: Item[];
  /** What can be done with the chosen, between them and the groups. */
  children: ComponentChildren;
}

/** The nodes among what is chosen, groups opened. */
export const keysOf = (chosen: Item[]) =>
  chosen.flatMap((item) => (item.group === null ? [item.id] : (groups.value[item.group]?.keys ?? [])));

export function Panel({ page, merged, chosen, children }: Props): JSX.Element {
  const [only] = chosen;
  return (
    <>
      <section data-testid="panel" aria-label="what is chosen">
        {only === undefined ? (
          <Nothing />
        ) : chosen.length === 1 ? (
          <One item={only} page={page} merged={merged} />
        ) : (
          <Several chosen={chosen} />
        )}
        {chosen.length > 0 && <Pins chosen={chosen} />}
        <ToLab page={page} chosen={chosen} />
      </section>
      {children}
      <Groups merged={merged} />
      <Suggested merged={merged} tokens={page.tokens} />
    </>
  );
}

/** The same prompt in the lab, with the chosen units set to zero where they stand. */
function ToLab({ page, chosen }: { page: GraphPage; chosen: Item[] }): JSX.Element | null {
  const units = chosen.flatMap((item) => item.members).filter(isClamped);
  if (!units.length || units.length > MOST_CLAMPS || !page.graph.prompt) return null;
  if (shownText(page) === null) return <p class="small soft">no lab: no text has just the tokens that were scored</p>;
  return (
    <p class="small">
      <a href={clampAddress(page, units, "zero")} data-testid="open-lab">
        set {units.length === 1 ? "it" : "them"} to zero in the lab
      </a>
      {page.about.baseline === "corrupted" && otherText(page) && (
        <>
          {" · "}
          <a href={clampAddress(page, units, "other")} data-testid="open-lab-other">
            put the other prompt's value{units.length === 1 ? "" : "s"} in
          </a>
        </>
      )}
    </p>
  );
}

/** Keep what is chosen in the picture, whatever is pruned; or look at nothing else. */
function Pins({ chosen }: { chosen: Item[] }): JSX.Element | null {
  const keys = keysOf(chosen.filter((item) => !ENDS.has(item.kind)));
  const now = new Set(pins.value);
  const all = keys.length > 0 && keys.every((key) => now.has(key));
  if (!keys.length) return null;
  return (
    <p class="row">
      <button type="button" data-testid="pin" aria-pressed={all} onClick={() => pinChosen(chosen)}>
        {all ? "unpin" : "pin"} <kbd aria-hidden="true">p</kbd>
      </button>
      {now.size > 0 && <a class="small" data-testid="only-pinned" href={withQuery({ only: onlyPinned.value ? null : "pinned" })}>{onlyPinned.value ? "show all again" : `show only what is pinned (${count(now.size)})`}</a>}
    </p>
  );
}

function Nothing(): JSX.Element {
  return (
    <>
      <h2>Choose a node</h2>
      <p class="small soft">
        Click one, or go there with the arrow keys and press space. With shift, or space again, several are chosen; then <kbd>g</kbd> groups them. <kbd>p</kbd> pins a node: it stays whatever is pruned.
      </p>
    </>
  );
}

function One({ item, page, merged }: { item: Item; page: GraphPage; merged: Merged }): JSX.Element {
  const node = first(item);
  const token = node.position === null ? undefined : page.tokens[node.position];
  const alone = item.group === null;
  return (
    <>
      <h2 class="picked">
        <Sign kind={item.kind} score={item.score} />
        {!alone ? <bdi>{item.label}</bdi> : node.unit ? <a href={unitAddress(node.unit)} data-testid="unit-link"><bdi>{node.label || node.name}</bdi></a> : <bdi>{node.label || node.name}</bdi>}
      </h2>
      <p class="small soft">
        {alone ? (node.label && node.name !== node.label ? node.name : item.kind) : `group of ${plural(item.members.length + item.hidden, "node")}${item.hidden ? `, ${count(item.hidden)} hidden by pruning` : ""}`}
        {alone && token !== undefined && (
          <>
            {" "}
            at <Visible text={token} />
          </>
        )}
        {alone && node.position !== null && <>, position {count(node.position)}</>}
        {alone && node.site !== "" && <> · <span class="mono">{item.id}</span></>}
      </p>
      <dl class="numbers">
        <Pair name={alone ? "predicted" : "predicted, sum"} value={number(item.score, true)} testid="predicted" raw={item.score} />
        {alone && <Pair name="measured" value={node.measured === null ? "—" : number(node.measured, true)} testid="measured" raw={node.measured} />}
        {alone && <Pair name="activation" value={node.value === null ? "—" : number(node.value)} testid="activation" raw={node.value} />}
        {alone && node.baseline !== null && page.about.baseline === "corrupted" && <Pair name="on the other prompt" value={number(node.baseline)} testid="baseline" raw={node.baseline} />}
      </dl>
      {alone && node.kind === "head" && <HeadPattern page={page} node={node} />}
      <Flow title="Inputs" testid="inputs" links={merged.into.get(item.id) ?? []} end="source" merged={merged} />
      <Flow title="Outputs" testid="outputs" links={merged.outOf.get(item.id) ?? []} end="target" merged={merged} />
      {!alone && <Members item={item} page={page} />}
    </>
  );
}

function Pair({ name, value, testid, raw }: { name: string; value: string; testid: string; raw: number | null }): JSX.Element {
  return (
    <div>
      <dt>{name}</dt>
      <dd class="num" data-testid={testid} data-value={raw ?? ""}>
        {value}
      </dd>
    </div>
  );
}

/** The edges at one end, the largest first. */
function Flow({ title, testid, links, end, merged }: { title: string; testid: string; links: Link[]; end: "source" | "target"; merged: Merged }): JSX.Element {
  const shown = links.slice(0, RANKED);
  const sum = links.reduce((total, link) => total + link.weight, 0);
  const more = links.length > RANKED ? `, the ${RANKED} largest of them` : "";
  return (
    <>
      <h3>{title}</h3>
      {links.length ? (
        <div data-testid={`${testid}-sum`} data-sum={sum} data-count={links.length}>
          <Bars
            testid={testid}
            caption={`${plural(links.length, "edge")}${more}; together ${number(sum, true)}`}
            bars={shown.map((link) => {
              const other = merged.byId.get(link[end]) as Item;
              return {
                label: (
                  <span class="small">
                    <bdi>{other.label}</bdi>
                    {Object.keys(link.slots).length > 0 && <span class="soft"> {slotText(link)}</span>}
                  </span>
                ),
                value: link.weight,
                ...(link.measured !== null && { note: `measured ${number(link.measured, true)}` }),
                href: choosing(other.id),
              };
            })}
          />
        </div>
      ) : (
        <p class="small soft">none among what is shown</p>
      )}
    </>
  );
}

/** What a head reads an edge as: its query, key or value; with what each carries, where it is several. */
function slotText(link: Link): string {
  const slots = Object.entries(link.slots);
  return slots.length === 1 ? `as ${slots[0]?.[0]}` : `as ${slots.map(([slot, weight]) => `${slot} ${number(weight, true)}`).join(", ")}`;
}

function Members({ item, page }: { item: Item; page: GraphPage }): JSX.Element {
  return (
    <>
      <h3>Its nodes</h3>
      <ul class="layers small" data-testid="members">
        {item.members.map((node) => (
          <li key={node.key} data-key={node.key}>
            <bdi>{node.unit ? <a href={unitAddress(node.unit)}>{nameOf(node, page.tokens)}</a> : nameOf(node, page.tokens)}</bdi>{" "}
            <span class="num nowrap">{number(node.score, true)}</span>
          </li>
        ))}
      </ul>
    </>
  );
}

function Several({ chosen }: { chosen: Item[] }): JSX.Element {
  const sum = chosen.reduce((total, item) => total + item.score, 0);
  return (
    <>
      <h2>{plural(chosen.length, "node")} chosen</h2>
      <dl class="numbers">
        <Pair name="predicted, sum" value={number(sum, true)} testid="predicted" raw={sum} />
      </dl>
      <ul class="layers small">
        {chosen.slice(0, RANKED).map((item) => (
          <li key={item.id}>
            <a href={choosing(item.id)}>
              <bdi>{item.label}</bdi>
            </a>{" "}
            <span class="num">{number(item.score, true)}</span>
          </li>
        ))}
      </ul>
      {chosen.length > RANKED && <p class="small soft">and {count(chosen.length - RANKED)} more</p>}
      <p class="row">
        <button type="button" data-testid="group" onClick={() => groupChosen(chosen)}>
          group <kbd aria-hidden="true">g</kbd>
        </button>
        <button type="button" class="quiet" onClick={() => choose([])}>
          let go
        </button>
      </p>
    </>
  );
}

/** Make a group of what is chosen, if it is more than one node. */
export function groupChosen(chosen: Item[]): void {
  const keys = keysOf(chosen);
  if (keys.length > 1 && chosen.length > 1) makeGroup(`group ${groups.value.length + 1}`, keys);
}

/** Pin what is chosen, or let it go. */
export function pinChosen(chosen: Item[]): void {
  const keys = keysOf(chosen.filter((item) => !ENDS.has(item.kind)));
  if (keys.length) pin(keys);
}

function Groups({ merged }: { merged: Merged }): JSX.Element | null {
  if (!groups.value.length) return null;
  return (
    <section>
      <h2>Groups</h2>
      <ul class="layers groups" data-testid="groups">
        {groups.value.map((group, i) => {
          const item = merged.byId.get(idOf(i));
          return (
            <li key={group.keys.join(" ")} data-group={i + 1} data-score={item?.score ?? ""}>
              <Name name={group.name} at={i} />
              <p class="small row">
                <span class="soft">
                  {plural(group.keys.length, "node")}
                  {item ? <>, <span class="num">{number(item.score, true)}</span></> : ", hidden by pruning"}
                </span>
                {item && <a href={choosing(item.id)} aria-label={`see the group ${group.name}`}>see</a>}
                <button type="button" class="quiet" data-testid="ungroup" aria-label={`ungroup ${group.name}`} onClick={() => ungroup(i)}>
                  ungroup
                </button>
              </p>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

/** A group's name, written to the address when one is done with it. */
function Name({ name, at }: { name: string; at: number }): JSX.Element {
  const [draft, setDraft] = useState<string | null>(null);
  const done = () => {
    const next = draft?.trim();
    if (next && next !== name) rename(at, next);
    setDraft(null);
  };
  return (
    <input
      type="text"
      aria-label={`name of group ${at + 1}`}
      data-testid="group-name"
      maxLength={LONGEST_NAME}
      value={draft ?? name}
      spellcheck={false}
      autocomplete="off"
      onInput={(event) => setDraft(event.currentTarget.value)}
      onBlur={done}
      onKeyDown={(event) => (event.key === "Enter" ? done() : event.key === "Escape" && setDraft(null))}
    />
  );
}

function Suggested({ merged, tokens }: { merged: Merged; tokens: string[] }): JSX.Element | null {
  const all = suggestions(merged, tokens);
  if (!all.length) return null;
  return (
    <section>
      <h2>Could be groups</h2>
      <ul class="layers small" data-testid="suggested">
        {all.map((one) => (
          <li key={one.why + one.name}>
            <span>
              <bdi>{one.name}</bdi> <span class="soft">{one.why}, {plural(one.keys.length, "node")}</span>
            </span>
            <button type="button" class="quiet" aria-label={`group ${one.name}`} onClick={() => makeGroup(one.name, one.keys)}>
              group
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
