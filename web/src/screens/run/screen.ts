import type { Screen } from "../../screen";
import Run from "./Run";

export const screen: Screen = {
  path: "/runs/",
  load: () => Run,
};
