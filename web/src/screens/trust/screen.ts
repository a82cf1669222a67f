import type { Screen } from "../../screen";

export const screen: Screen = {
  path: "/trust",
  title: "Trust",
  key: "t",
  order: 3.5,
  only: ["texts", "pictures"],
  load: () => import("./Trust").then((m) => m.default),
};
