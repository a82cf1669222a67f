// What Find is asked: every field is a parameter of the address, named as the API names it.
import type { JSX, RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { AtlasPage } from "../../api/types";
import { go, placesOf, query, withQuery } from "../../route";

const PAUSE_MS = 150;
const RANGES: [name: string, words: string, unit: string, step: number][] = [
  ["frequency", "fires at", "%", 0.01],
  ["maximum", "max", "", 0.01],
  ["score", "score", "", 0.01],
];
const OTHERS = ["fires_on", "site", "concept", "described", "starred", ...RANGES.flatMap(([name]) => [`min_${name}`, `max_${name}`])];

/** Change the question; a new question begins at its first page. */
function ask(changes: Record<string, string | null>, replace = false): void {
  go(withQuery({ ...changes, cursor: null }), replace);
}

/** The search field and, below it, the narrower questions. */
export function Filters({ atlas }: { atlas: AtlasPage | undefined }): JSX.Element {
  const narrowed = OTHERS.filter((name) => query.value.has(name)).length;
  return (
    <form role="search" class="filters" data-testid="filters" onSubmit={(event) => event.preventDefault()}>
      <Words />
      <details open={narrowed > 0}>
        <summary>
          filters{narrowed ? `: ${narrowed} set` : ""}
        </summary>
        <div class="fields">
          {atlas?.modality !== "recording" && <Text name="fires_on" words="peaks at the token" placeholder="cat" />}
          <Choice name="site" words="site" options={placesOf(atlas?.sites ?? []).map((place, i) => [place, atlas?.sites[i]?.name ?? place])} all="all sites" />
          <Choice name="described" words="described" all="or not" options={[["true", "yes"], ["false", "no"]]} />
          <Choice name="starred" words="starred" all="or not" options={[["true", "yes"], ["false", "no"]]} />
          <Text name="concept" words="detects" placeholder="a concept or token" />
          {RANGES.map(([name, words, unit, step]) => (
            <fieldset key={name}>
              <legend>
                {words}
                {unit && `, ${unit}`}
              </legend>
              <Bound name={`min_${name}`} words={`lowest ${words}`} percent={unit === "%"} step={step} hint="from" />
              <Bound name={`max_${name}`} words={`highest ${words}`} percent={unit === "%"} step={step} hint="to" />
            </fieldset>
          ))}
          {narrowed > 0 && (
            <button type="button" class="quiet" onClick={() => ask(Object.fromEntries(OTHERS.map((name) => [name, null])))}>
              take filters away
            </button>
          )}
        </div>
      </details>
    </form>
  );
}

/** A field that shows what the address says: the back button, or a link, may change it too. */
function useField(now: string): RefObject<HTMLInputElement | null> {
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (field.current && field.current.value.trim() !== now) field.current.value = now;
  }, [now]);
  return field;
}

/** The main field: asks while one types. */
function Words(): JSX.Element {
  const now = query.value.get("q") ?? "";
  const field = useRef<HTMLInputElement>(null);
  const timer = useRef(0);
  const sent = useRef(now);
  useEffect(() => {
    // What was asked from here comes back while one types on; only another's change is written into the field.
    if (now === sent.current) return;
    clearTimeout(timer.current);
    sent.current = now;
    if (field.current) field.current.value = now;
  }, [now]);
  const typed = () => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      const [words, before] = [field.current?.value.trim() ?? "", sent.current];
      if (words === before) return;
      sent.current = words;
      // The first letter is a step for the back button, the next ones refine it.
      ask({ q: words, sort: null, descending: null }, before !== "" && words !== "");
    }, PAUSE_MS);
  };
  useEffect(() => () => clearTimeout(timer.current), []);
  const leave = (event: KeyboardEvent) => event.key === "Escape" && field.current?.blur();
  return (
    <label class="words">
      <span class="out-of-sight">words, or a unit's key</span>
      <input
        ref={field}
        data-search
        data-testid="search"
        type="search"
        defaultValue={now}
        placeholder="words, tokens, or a unit: its key, 2/16, block 0 neuron 9"
        autocomplete="off"
        spellcheck={false}
        maxLength={300}
        onInput={typed}
        onKeyDown={leave}
      />
      <kbd aria-hidden="true">/</kbd>
    </label>
  );
}

function Text({ name, words, placeholder }: { name: string; words: string; placeholder: string }): JSX.Element {
  const now = query.value.get(name) ?? "";
  const field = useField(now);
  return (
    <label>
      <span>{words}</span>
      <input
        ref={field}
        name={name}
        defaultValue={now}
        placeholder={placeholder}
        autocomplete="off"
        spellcheck={false}
        maxLength={300}
        onChange={(event) => ask({ [name]: event.currentTarget.value })}
      />
    </label>
  );
}

export interface Options {
  name: string;
  words: string;
  all: string;
  options: [value: string, words: string][];
}

/** A choice that the address holds; without one, all. */
export function Choice({ name, words, all, options }: Options): JSX.Element {
  const now = query.value.get(name) ?? "";
  // A value from the address may not be among the options, or not yet.
  const listed = now && !options.some(([value]) => value === now) ? [...options, [now, now] as [string, string]] : options;
  return (
    <label>
      <span>{words}</span>
      <select name={name} aria-label={words} value={now} onChange={(event) => ask({ [name]: event.currentTarget.value })}>
        <option value="">{all}</option>
        {listed.map(([value, text]) => (
          <option key={value} value={value}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

interface Bounds {
  name: string;
  words: string;
  percent: boolean;
  step: number;
  hint: string;
}

function Bound({ name, words, percent, step, hint }: Bounds): JSX.Element {
  const text = query.value.get(name) ?? "";
  const scaled = (value: string, by: number) => (value === "" || !Number.isFinite(Number(value)) ? "" : String(Number((Number(value) * by).toPrecision(9))));
  const now = percent ? scaled(text, 100) : text;
  const field = useField(now);
  return (
    <input
      ref={field}
      type="number"
      step={step}
      name={name}
      aria-label={words}
      placeholder={hint}
      defaultValue={now}
      onChange={(event) => ask({ [name]: percent ? scaled(event.currentTarget.value, 0.01) : event.currentTarget.value })}
    />
  );
}
