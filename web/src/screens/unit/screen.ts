import type { Screen } from "../../screen";
import Unit from "./Unit";

export const screen: Screen = {
  path: "/units/",
  load: () => Unit,
};
