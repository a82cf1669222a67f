// The button that keeps an explained answer in the atlas, where one may write.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Failure } from "../api/failure";
import { keep, useWriting } from "../api/write";
import { go, graphAddress } from "../route";

/** Keep the answer and go to its page; `id` is what the server remembers it by. */
export function Keep({ id }: { id: string }): JSX.Element | null {
  const { may } = useWriting();
  const [failure, fail] = useState<Failure | null>(null);
  const [busy, wait] = useState(false);
  if (!may) return null;
  const send = async () => {
    wait(true);
    try {
      go(graphAddress((await keep(id)).id));
    } catch (fault) {
      fail(fault as Failure);
      wait(false);
    }
  };
  return (
    <>
      <button type="button" disabled={busy} data-testid="keep" onClick={send}>
        keep it
      </button>
      {failure && (
        <span class="fails" role="alert">
          Not kept: expected {failure.expected}, got {failure.got}. {failure.remedy}
        </span>
      )}
    </>
  );
}
