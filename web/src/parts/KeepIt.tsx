// What only the server's memory holds: kept in the atlas by a button, or by the command that makes it again.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Failure } from "../api/failure";
import type { Kept } from "../api/types";
import { keep, useWriting } from "../api/write";
import { graphAddress } from "../route";
import { Copy } from "./Command";

interface Props {
  id: string;
  /** What makes and keeps the same. */
  command: string;
  /** What keeps it; by default it is an explained answer. */
  send?: (id: string) => Promise<Kept>;
  /** Where the kept one is shown. */
  address?: (id: string) => string;
}

/** Say that it is not kept, with what keeps it. */
export function KeepIt({ id, command, send = keep, address = graphAddress }: Props): JSX.Element {
  const { may } = useWriting();
  const [kept, setKept] = useState("");
  const [failure, setFailure] = useState<Failure | null>(null);
  const press = () =>
    send(id)
      .then((layer) => setKept(layer.id))
      .catch((fault: Failure) => setFailure(fault));
  if (kept) {
    return (
      <p class="small" data-testid="kept-as" data-id={kept}>
        Kept in the atlas: <a href={address(kept)}>its page</a>
      </p>
    );
  }
  return (
    <div data-testid="not-kept">
      <p class="small row">
        <span class="soft">Not kept on disk: the server remembers it while it runs.</span>
        {may ? (
          <button type="button" data-testid="keep-it" onClick={press}>
            keep it
          </button>
        ) : (
          <span class="soft">This command keeps it:</span>
        )}
      </p>
      {!may && (
        <div class="command">
          <pre data-testid="keep-command">{command}</pre>
          <Copy text={command} label="copy" what="the command" />
        </div>
      )}
      {failure && (
        <p class="small warn" role="alert">
          Expected {failure.expected}, got {failure.got}. {failure.remedy}
        </p>
      )}
    </div>
  );
}
