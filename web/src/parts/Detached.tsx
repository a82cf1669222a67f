// Without a model nothing can be tried: how to have one.
import type { ComponentChildren, JSX } from "preact";
import { Copy } from "./Command";

/** Say so, with the command that attaches it; `children` say what for. */
export function Detached({ remedy, children }: { remedy: string; children: ComponentChildren }): JSX.Element {
  // A sentence may hold the command between backticks.
  const command = /`([^`]+)`/.exec(remedy)?.[1] ?? remedy;
  return (
    <section data-testid="detached">
      <h2>No model is attached</h2>
      <p>
        This atlas is served by itself: what was measured when it was baked can be read, and nothing new can be tried. Serve it with its model{" "}
        {children}:
      </p>
      <div class="command">
        <pre data-testid="attach">{command}</pre>
        <Copy text={command} label="copy" what="the command" />
      </div>
    </section>
  );
}
