// A short ranked list of signed numbers: bars from a middle line, the sign also as a shape.
import type { ComponentChildren, JSX } from "preact";
import { number } from "../format";

export interface Bar {
  label: ComponentChildren;
  value: number | null;
  /** What is known of it, in a few words. */
  note?: ComponentChildren;
  href?: string | undefined;
}

/** Draw bars of one scale; `caption` says what they are. */
export function Bars({ bars, caption, scale, testid }: { bars: Bar[]; caption: string; scale?: number; testid?: string }): JSX.Element {
  const most = scale ?? Math.max(...bars.map((bar) => Math.abs(bar.value ?? 0)), 1e-12);
  return (
    <table class="bars" data-testid={testid}>
      <caption class="small soft">{caption}</caption>
      <tbody>
        {bars.map((bar, i) => {
          const value = bar.value ?? 0;
          return (
            <tr key={i} data-value={bar.value ?? ""}>
              <th scope="row">
                {bar.href ? <a href={bar.href}>{bar.label}</a> : bar.label}
                {bar.note && <span class="soft small note">{bar.note}</span>}
              </th>
              <td class="bar" aria-hidden="true">
                <i class={value < 0 ? "neg" : "pos"} style={{ width: `${(Math.abs(value) / most) * 100}%` }} />
              </td>
              <td class="num">
                <span class={value < 0 ? "against" : "carries"} aria-hidden="true">
                  {value < 0 ? "▼" : value > 0 ? "▲" : ""}
                </span>{" "}
                {number(bar.value, true)}
              </td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
