// The lab of a model of images: a kept picture, and units clamped on it.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { ClampAsked, LabPage } from "../../api/types";
import { readClamps, written } from "../../clamps";
import { plural } from "../../format";
import { PictureBench } from "../../parts/PictureBench";
import { Nothing } from "../../parts/States";
import { go, local, query, unitAddress, withQuery } from "../../route";

/** Choose a picture, clamp units, see the classes. */
export function PictureLab({ lab }: { lab: LabPage }): JSX.Element {
  const clamps = query.value.getAll("clamp").flatMap((text) => readClamps(text) ?? []);
  const put = (next: ClampAsked[]) => go(withQuery({ clamp: written(next), random: null }), true);
  return (
    <div class="picture-lab" data-testid="picture-lab">
      <section aria-labelledby="clamps">
        <h2 id="clamps">Clamps</h2>
        {clamps.length ? (
          <ol class="clamps">
            {clamps.map((one, i) => (
              <li key={`${i} ${one.key}`} class="clamp" data-testid="clamp" data-key={one.key} data-value={one.value ?? ""}>
                <div class="row between">
                  <h3>
                    <a href={unitAddress(one.key)}>{local(one.key)}</a>
                  </h3>
                  <button type="button" class="quiet" onClick={() => put(clamps.filter((_, j) => j !== i))}>
                    remove
                  </button>
                </div>
                <label class="inline small">
                  <span class="soft">{one.mode === "ablate" ? "set to zero" : `${one.mode} to`}</span>
                  {one.mode !== "ablate" && (
                    <input
                      type="number"
                      step="any"
                      class="num"
                      aria-label={`value of ${local(one.key)}`}
                      value={one.value ?? ""}
                      onChange={(event) => {
                        const text = event.currentTarget.value;
                        put(clamps.map((other, j) => (i === j ? { ...other, value: text === "" ? null : Number(text) } : other)));
                      }}
                    />
                  )}
                </label>
              </li>
            ))}
          </ol>
        ) : (
          <Nothing>Nothing is clamped. Name a unit here, or begin on the page of one.</Nothing>
        )}
        {clamps.length < lab.most_clamps ? <Add onAdd={(key) => put([...clamps, { key, mode: "set", value: 0, at: "" }])} /> : <p class="small soft">These are {plural(clamps.length, "clamp")}, the most that one run takes.</p>}
      </section>
      <section aria-labelledby="picture">
        <h2 id="picture">Picture</h2>
        <PictureBench unit="" clamps={clamps} />
      </section>
    </div>
  );
}

function Add({ onAdd }: { onAdd: (key: string) => void }): JSX.Element {
  const [key, setKey] = useState("");
  return (
    <form
      class="add"
      onSubmit={(event) => {
        event.preventDefault();
        if (key.trim()) onAdd(local(key.trim()));
        setKey("");
      }}
    >
      <input aria-label="key of a unit to set to zero" placeholder="blocks.1.conv1.act/channels/8" value={key} onInput={(event) => setKey(event.currentTarget.value)} data-testid="add-key" spellcheck={false} autocomplete="off" />
      <button type="submit">add</button>
    </form>
  );
}
