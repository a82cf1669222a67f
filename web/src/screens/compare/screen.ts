import type { Screen } from "../../screen";

export const screen: Screen = {
  path: "/compare/",
  load: () => import("./Compare").then((m) => m.default),
};
