import type { Screen } from "../../screen";

export const screen: Screen = {
  path: "/ask",
  title: "Ask",
  key: "w",
  order: -1,
  only: ["texts", "pictures"],
  load: () => import("./Ask").then((m) => m.default),
};
