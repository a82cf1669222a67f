import type { Screen } from "../../screen";
import Runs from "./Runs";

export const screen: Screen = {
  path: "/runs",
  title: "Runs",
  key: "r",
  order: 4,
  load: () => Runs,
};
