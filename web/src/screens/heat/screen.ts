import type { Screen } from "../../screen";

export const screen: Screen = {
  path: "/heat",
  title: "Layers",
  key: "y",
  order: 2.5,
  only: ["texts"],
  load: () => import("./Heat").then((m) => m.default),
};
