import type { Screen } from "../../screen";

export const screen: Screen = {
  path: "/lab",
  title: "Lab",
  key: "l",
  order: 2,
  only: ["texts", "pictures"],
  load: () => import("./Lab").then((m) => m.default),
};
