import type { Screen } from "../../screen";
import Answers from "./Answers";

export const screen: Screen = {
  path: "/graphs",
  title: "Answers",
  key: "a",
  order: 3,
  load: () => Answers,
};
