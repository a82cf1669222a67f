// What a node is, beside it: its numbers, and the example at which its unit was strongest.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { useAnswer } from "../../api/ask";
import type { Example, Examples, GraphPage } from "../../api/types";
import { number } from "../../format";
import { Strip } from "../../parts/Strip";
import { unitAddress } from "../../route";
import type { Camera } from "./camera";
import type { Spot } from "./layout";
import { type Item, first } from "./merge";
import { called } from "./words";

const PAUSE_MS = 160;
const WIDTH = 300;
/** Tokens before the peak, and from it on. */
const AROUND = 7;

interface Props {
  item: Item;
  spot: Spot;
  page: GraphPage;
  camera: Camera;
  width: number;
  height: number;
}

/** Return an example's tokens around its peak. */
function around(one: Example): Example {
  const [from, to] = [Math.max(one.mark - AROUND, 0), one.mark + AROUND];
  const at = (all: number[]) => all.filter((i) => i >= from && i < to).map((i) => i - from);
  return {
    ...one,
    tokens: one.tokens.slice(from, to),
    ids: one.ids.slice(from, to),
    acts: one.acts.slice(from, to),
    mark: one.mark - from,
    special: at(one.special),
    bytes: at(one.bytes),
    before: one.before || from > 0,
    after: one.after || to < one.tokens.length,
  };
}

/** A card that comes after a moment, beside its node. */
export function Preview(props: Props): JSX.Element | null {
  const [shown, show] = useState("");
  useEffect(() => {
    const later = setTimeout(() => show(props.item.id), PAUSE_MS);
    return () => clearTimeout(later);
  }, [props.item.id]);
  return shown === props.item.id ? <Card {...props} /> : null;
}

function Card({ item, spot, page, camera: { k, x, y }, width, height }: Props): JSX.Element {
  const node = first(item);
  const { title, grey } = called(item, page);
  const alone = item.group === null;
  const examples = useAnswer<Examples>(alone && node.unit ? `/api${unitAddress(node.unit)}/examples?kind=top&limit=1` : null);
  const [best] = examples.state === "here" ? examples.data.examples : [];
  const left = Math.min(Math.max(spot.x * k + x - WIDTH / 2, 6), Math.max(width - WIDTH - 6, 6));
  const [above, below] = [spot.top * k + y - 8, spot.bottom * k + y + 8];
  const place = above > height - below ? { bottom: `${height - above}px` } : { top: `${below}px` };
  return (
    <div class="preview" role="tooltip" id="preview" data-testid="preview" data-id={item.id} style={{ left: `${left}px`, width: `${Math.min(WIDTH, width - 12)}px`, ...place }}>
      <p>
        <b>{title}</b>
        <span class="soft small">
          {" "}
          {[node.layer === null || !alone ? "" : `Block ${node.layer}`, grey].filter(Boolean).join(" · ")}
        </span>
      </p>
      <p class="small num">
        predicted {number(item.score, true)}
        {alone && node.measured !== null && <> · measured {number(node.measured, true)}</>}
        {alone && node.value !== null && <> · value {number(node.value)}</>}
      </p>
      {best && (
        <>
          <p class="small soft">strongest in the text</p>
          <Strip example={around(best)} most={Math.abs(best.value)} under="peak" />
        </>
      )}
    </div>
  );
}
