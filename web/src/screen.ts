// The screens: one folder each, found by listing them.
import type { FunctionComponent } from "preact";
import type { LabPage } from "./api/types";

export type Component = FunctionComponent<{ id: string }>;

export interface Screen {
  /** Its address; one that ends in a slash takes whatever follows as `id`. */
  path: string;
  /** What the bar on top calls it; a screen without a title is reached from others. */
  title?: string;
  /** The key that opens it. */
  key?: string;
  /** Its place in the bar. */
  order?: number;
  /** What an atlas must be of for the bar to have it; everywhere without. */
  only?: LabPage["shows"][];
  /** Return what is shown: at once, or loaded when it is first opened. */
  load: () => Component | Promise<Component>;
}
