// Circuit: how did it get from prompt to answer?
import type { JSX } from "preact";
import { Title, useTitle } from "../parts/Frame";
import { Nothing } from "../parts/States";

/** Every explained answer. */
export function Answers(): JSX.Element {
  useTitle("Answers");
  return (
    <>
      <Title question="Which answers have been explained?" />
      <Nothing>Not built yet.</Nothing>
    </>
  );
}

/** One explained answer as a graph. */
export function Circuit({ id }: { id: string }): JSX.Element {
  useTitle("Circuit");
  return (
    <>
      <Title question="How did it get from prompt to answer?" />
      <Nothing>Not built yet: {id}</Nothing>
    </>
  );
}
