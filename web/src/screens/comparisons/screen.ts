import type { Screen } from "../../screen";

export const screen: Screen = { path: "/compare", load: () => import("./Comparisons").then((m) => m.default) };
