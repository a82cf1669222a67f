import type { Screen } from "../../screen";

export const screen: Screen = {
  path: "/heat",
  title: "Layers",
  key: "y",
  order: 2.5,
  load: () => import("./Heat").then((m) => m.default),
};
