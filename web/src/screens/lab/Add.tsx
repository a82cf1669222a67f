// A field for a unit: it completes what is typed, and adds nothing that the model cannot clamp.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { fetched, useAnswer } from "../../api/ask";
import type { Failure } from "../../api/failure";
import type { AtlasPage, ClampableUnit, ClampAsked, SiteRow } from "../../api/types";
import { usualMode } from "../../clamps";
import { clampTo, focusNext } from "./state";

const MOST = 8;

/** The units that a text may mean: a key, or words and numbers such as `2/242` and `layer 2 neuron 242`. */
export function meant(text: string, sites: SiteRow[]): string[] {
  const typed = text.trim().toLowerCase();
  const numbers = (typed.match(/\d+/g) ?? []).map(Number);
  const key = (site: SiteRow, index: number) => `${site.site}/${site.basis}/${index}`;
  const fits = (site: SiteRow, index: number | undefined) => index !== undefined && index < site.units;
  if (!typed) return [];
  const [layer, index] = numbers.slice(-2);
  const head = /\bheads?\b|\bh\d/.test(typed);
  const neuron = /neuron|mlp/.test(typed);
  const named = sites.filter((site) => (head ? site.basis === "heads" : !neuron || site.basis !== "heads"));
  const byKey = sites.filter((site) => key(site, 0).startsWith(typed.replace(/\d*$/, "")) || `${site.site}/${site.basis}`.startsWith(typed));
  const whole = byKey.map((site) => key(site, fits(site, numbers.at(-1)) && typed.startsWith(`${site.site}/${site.basis}/`) ? (numbers.at(-1) as number) : 0));
  const pair = numbers.length > 1 && !typed.includes(".") ? named.filter((site) => site.layer === layer && fits(site, index)).map((site) => key(site, index as number)) : [];
  const inside = typed.length > 2 ? sites.filter((site) => key(site, 0).includes(typed)).map((site) => key(site, 0)) : [];
  return [...new Set([...pair, ...whole, ...inside])].slice(0, MOST);
}

/** The field, its suggestions, and what is wrong with what was typed. */
export function Add({ clamps }: { clamps: ClampAsked[] }): JSX.Element {
  const [text, write] = useState("");
  const [wrong, setWrong] = useState<Failure | null>(null);
  const [busy, setBusy] = useState(false);
  const atlas = useAnswer<AtlasPage>("/api/atlas");
  const found = atlas.state === "here" ? meant(text, atlas.data.sites) : [];
  const add = async (event: SubmitEvent) => {
    event.preventDefault();
    const typed = text.trim();
    if (!typed || busy) return;
    setBusy(true);
    // What is no key means the first unit that it suggests.
    const key = typed.split("/").length > 2 ? typed : (found[0] ?? typed);
    try {
      const unit = await fetched<ClampableUnit>(`/api/lab/unit?key=${encodeURIComponent(key)}`);
      write("");
      setWrong(null);
      focusNext.value = clamps.length;
      clampTo([...clamps, { key: unit.key, mode: usualMode(unit.key), value: null, at: "" }], "clamps");
    } catch (failure) {
      setWrong(failure as Failure);
    }
    setBusy(false);
  };
  return (
    <form class="add small" onSubmit={add}>
      <input
        aria-label="a unit to clamp"
        aria-invalid={wrong !== null}
        placeholder="a unit: its key, 2/242, layer 2 head 1"
        data-testid="add-key"
        list="meant"
        value={text}
        autocomplete="off"
        spellcheck={false}
        maxLength={300}
        onInput={(event) => {
          write(event.currentTarget.value);
          setWrong(null);
        }}
      />
      <datalist id="meant">
        {found.map((key) => (
          <option key={key} value={key} />
        ))}
      </datalist>
      <button type="submit" disabled={busy}>
        add
      </button>
      <a href="/units">find one</a>
      {text && !wrong && found[0] && found[0] !== text.trim() && (
        <p class="small soft" data-testid="meant">
          adds <code>{found[0]}</code>
        </p>
      )}
      {wrong && (
        <p class="small warn" role="alert" data-testid="add-wrong">
          Expected {wrong.expected}, got {wrong.got}. {wrong.remedy}
        </p>
      )}
    </form>
  );
}
