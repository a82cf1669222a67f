import type { Screen } from "../../screen";
import Home from "./Home";

export const screen: Screen = {
  path: "/",
  title: "Home",
  key: "h",
  order: 0,
  load: () => Home,
};
