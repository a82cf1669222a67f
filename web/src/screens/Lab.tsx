// Lab: what is active here, and what happens if it is clamped?
import type { JSX } from "preact";
import { Title, useTitle } from "../parts/Frame";
import { Nothing } from "../parts/States";

/** The prompt lab. */
export function Lab(): JSX.Element {
  useTitle("Lab");
  return (
    <>
      <Title question="What is active here, and what happens if it is clamped?" />
      <Nothing>Not built yet.</Nothing>
    </>
  );
}
