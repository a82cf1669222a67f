// The picture that an answer is about: where on it the answer comes from, and the place that is looked at.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { GraphPicture, NodePlaceView } from "../api/types";
import { number } from "../format";
import { OnPicture } from "./OnPicture";

interface Props {
  picture: GraphPicture;
  alt: string;
  /** The place that is marked; null for none. */
  place: NodePlaceView | null;
  /** What stands there. */
  name?: string;
}

/** The picture with its heat map, which can be taken away. */
export function AnswerPicture({ picture, alt, place, name = "" }: Props): JSX.Element {
  const [over, setOver] = useState(true);
  const { src, size, rows, columns, heat, apart } = picture;
  const most = Math.max(...heat.map((x) => Math.abs(x ?? 0)), 0);
  return (
    <figure class="answer-picture" data-testid="answer-picture" data-position={place?.position ?? ""} data-apart={apart ?? ""}>
      <OnPicture src={src} alt={alt} size={size} heat={over && rows ? { values: heat, rows, columns, most } : null} box={place?.box ?? null} cell={place?.cell ?? null} />
      <figcaption class="small soft">
        {rows > 0 && (
          <label class="inline">
            <input type="checkbox" checked={over} onChange={() => setOver(!over)} data-testid="heat-over" /> what the units at each place are predicted to carry
          </label>
        )}
        {apart !== null && apart !== 0 && <p>{number(apart, true)} more lies at the class token, which is nowhere on the picture.</p>}
        <p role="status" data-testid="marked">
          {place ? (
            <>
              <b>{place.name}</b>
              {name && ` · ${name}`}: framed is what the place reads{place.cell.join() !== place.box.join() && ", dashed its own cell"}
            </>
          ) : (
            "Point at a unit to see its place."
          )}
        </p>
      </figcaption>
    </figure>
  );
}
