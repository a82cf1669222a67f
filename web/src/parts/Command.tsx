// The command that made what is shown, ready to be copied.
import type { JSX } from "preact";
import { useState } from "preact/hooks";

/** Put text on the clipboard; where that is refused (a page from another address), say so. */
export function Copy({ text, label, what }: { text: string; label: string; what: string }): JSX.Element {
  const [said, say] = useState("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      say("copied");
    } catch {
      say("not allowed here");
    }
    setTimeout(() => say(""), 1600);
  };
  return (
    <button type="button" class="quiet" onClick={copy} aria-label={`${label}: ${what}`} data-copies={text}>
      <span aria-live="polite">{said || label}</span>
    </button>
  );
}

/** A command with what it made in words above it. */
export function Command({ children, command, python }: { children: string; command: string; python?: string }): JSX.Element {
  return (
    <section class="made" aria-label="How this was made">
      <p class="soft small">{children}</p>
      <div class="command">
        <pre data-testid="command">{command}</pre>
        <Copy text={command} label="copy" what="the command" />
      </div>
      {python && (
        <div class="command">
          <pre data-testid="python">{python}</pre>
          <Copy text={python} label="copy" what="the Python" />
        </div>
      )}
    </section>
  );
}
