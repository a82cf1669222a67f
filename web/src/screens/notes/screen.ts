import type { Screen } from "../../screen";
import Notes from "./Notes";

export const screen: Screen = { path: "/notes", load: () => Notes };
