// The screens, found by listing their folder.
import type { Screen } from "./screen";

const files = import.meta.glob<{ screen: Screen }>("./screens/*/screen.ts", { eager: true });

/** Every screen; the longest path first, so that the first that fits is the right one. */
export const SCREENS: Screen[] = Object.values(files)
  .map((file) => file.screen)
  .sort((one, other) => other.path.length - one.path.length);

/** Return the screen of an address, and what its path leaves over. */
export function find(at: string): { screen: Screen; rest: string } | undefined {
  const screen = SCREENS.find(({ path }) => (path !== "/" && path.endsWith("/") ? at.startsWith(path) : at === path));
  return screen && { screen, rest: at.slice(screen.path.length) };
}
