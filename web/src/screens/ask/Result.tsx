// What came out: how far it is, the verdict in a sentence, the causes, the circuit, and how to keep it.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { useAnswer } from "../../api/ask";
import type { Explaining } from "../../api/explain";
import type { CauseRow, Explained, GraphPage } from "../../api/types";
import { duration, number, plural } from "../../format";
import { AnswerPicture } from "../../parts/AnswerPicture";
import { Bars } from "../../parts/Bars";
import { ClampCauses } from "../../parts/ClampCauses";
import { Keep } from "../../parts/Keep";
import { Copy } from "../../parts/Command";
import { KeepIt } from "../../parts/KeepIt";
import { Meter } from "../../parts/Meter";
import { Failed, Nothing } from "../../parts/States";
import { Visible } from "../../parts/Text";
import { Verdict } from "../../parts/Verdict";
import { graphAddress, local, unitAddress } from "../../route";

/** Causes that are shown before one asks for all. */
const FIRST = 8;

/** The right column. */
export function Result({ now, stale }: { now: Explaining; stale: boolean }): JSX.Element {
  return (
    <section aria-labelledby="because" data-testid="result" aria-live="polite">
      <h2 id="because">Because</h2>
      {now.failure && <Failed failure={now.failure} />}
      {now.busy && <Meter of={now} what="explanation" />}
      {now.result ? (
        <Found explained={now.result} now={now} stale={stale} />
      ) : (
        !now.busy && !now.failure && <Nothing>The units that carry the answer, replaced in the model itself beside random ones, appear here.</Nothing>
      )}
    </section>
  );
}

function Found({ explained, now, stale }: { explained: Explained; now: Explaining; stale: boolean }): JSX.Element {
  const { graph, causes } = explained;
  const page = useAnswer<GraphPage>(`/api/graphs/${encodeURIComponent(graph.id)}?keep=1`);
  const here = page.state === "here" && page.data.graph.id === graph.id ? page.data : null;
  const [at, look] = useState("");
  const looked = here?.nodes.find((node) => node.key === (at || causes[0]?.key));
  return (
    <div class={stale ? "old" : ""} data-testid="explained" data-id={graph.id} data-grade={graph.grade} data-measured={graph.measured_together ?? ""} data-p={graph.p ?? ""}>
      {stale && <p class="small soft">This answers the question before; press Why? again.</p>}
      <Verdict of={graph} rule={explained.rule} />
      {here?.picture && <AnswerPicture picture={here.picture} alt={graph.prompt} place={looked?.place ?? null} name={looked?.name ?? ""} />}
      <Causes causes={causes} quantity={graph.quantity || "m"} method={graph.method} onLook={look} />
      <div class="row onward">
        <a class="button" href={graphAddress(graph.id)} data-testid="open-circuit">
          open the circuit
        </a>
        {here && <ClampCauses page={here} />}
        {now.finished && !graph.kept && <Keep id={graph.id} />}
      </div>
      {now.finished && (
        <>
          <KeepIt key={graph.id} id={graph.id} command={now.finished.command} />
          <details class="more">
            <summary class="small">the same in Python · {duration(explained.seconds)}</summary>
            <div class="command">
              <pre data-testid="export-python">{now.finished.python}</pre>
              <Copy text={now.finished.python} label="copy" what="the Python" />
            </div>
          </details>
        </>
      )}
    </div>
  );
}

interface CausesProps {
  causes: CauseRow[];
  quantity: string;
  method: string;
  /** A cause is pointed at, or has the focus. */
  onLook: (key: string) => void;
}

/** The units that were replaced together, with what each carries: the largest, and the rest on demand. */
function Causes({ causes, quantity, method, onLook }: CausesProps): JSX.Element {
  const [all, showAll] = useState(false);
  const measured = causes.some((cause) => cause.measured !== null);
  const shown = all ? causes : causes.slice(0, FIRST);
  const said = measured ? `what replacing each alone takes from ${quantity}` : `what each is predicted to carry of ${quantity}`;
  const under = (event: Event) => onLook((event.target as Element).closest("tr")?.querySelector<HTMLElement>("[data-testid=cause]")?.dataset.node ?? "");
  return (
    <div class="causes" data-testid="causes" data-total={causes.length} onMouseOver={under} onFocusIn={under} onMouseLeave={() => onLook("")}>
      <Bars
        testid="cause-bars"
        caption={`${plural(causes.length, "cause")}${shown.length < causes.length ? `, the first ${shown.length} of them` : ""}, by ${method}: ${said}`}
        bars={shown.map((cause) => ({
          label: (
            <span data-testid="cause" data-node={cause.key} data-key={local(cause.key)} data-predicted={cause.predicted} data-measured={cause.measured ?? ""}>
              {cause.name}
              {cause.token && cause.token !== "image" && (
                <>
                  {" "}
                  at <span class="chip"><Visible text={cause.token} /></span>
                </>
              )}
            </span>
          ),
          note: (
            <>
              {cause.known && <q>{cause.known}</q>} {measured && <>predicted {number(cause.predicted, true)}</>}
            </>
          ),
          value: measured ? cause.measured : cause.predicted,
          ...(cause.unit && { href: unitAddress(cause.unit) }),
        }))}
      />
      {causes.length > FIRST && (
        <button type="button" class="quiet" data-testid="all-causes" aria-expanded={all} onClick={() => showAll(!all)}>
          {all ? `the first ${FIRST}` : `all ${causes.length} causes`}
        </button>
      )}
    </div>
  );
}
