import type { Screen } from "../../screen";
import Find from "./Find";

export const screen: Screen = {
  path: "/units",
  title: "Find",
  key: "f",
  order: 1,
  load: () => Find,
};
