import type { Screen } from "../../screen";

export const screen: Screen = {
  path: "/graphs/",
  load: () => import("./Circuit").then((m) => m.default),
};
