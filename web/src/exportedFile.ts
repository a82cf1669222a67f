// A page that is an exported file: its answers are in it, it links to nothing else, and it sends no requests.
import { type VNode, options } from "preact";
import type { Failure } from "./api/failure";
import type { Examples } from "./api/types";

interface ExportedFile {
  unit: string;
  /** What links to anything else say. */
  absent: string;
  answers: Record<string, unknown>;
}

const found = document.getElementById("exported");

/** What came with the page; null on a page that has a server. */
export const exportedFile = found && (JSON.parse(found.textContent ?? "") as ExportedFile);

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The address at which a file opens. */
export const home = exportedFile && `/units/${exportedFile.unit.split("/").map(encodeURIComponent).join("/")}`;

/** Whether an address of the atlas is in the page. */
export function holds(address: string): boolean {
  return decoded(address.split("?")[0] as string) === `/units/${exportedFile?.unit}`;
}

/** Return the answer that came with the page; throws a Failure where none did. */
export function storedAnswer(url: string): unknown {
  const { answers, absent } = exportedFile as ExportedFile;
  const [path = "", query = ""] = url.split("?");
  const asked = new URLSearchParams(query);
  const kind = asked.get("kind");
  const rank = asked.get("rank");
  const known = answers[decoded(path) + (kind ? `?kind=${kind}${rank === null ? "" : `&rank=${rank}`}` : "")];
  if (known === undefined) throw { status: 0, expected: "something that came with this page", got: path, remedy: absent } satisfies Failure;
  if (kind === null || rank !== null) return known;
  const most = Number(asked.get("limit") ?? 20);
  const whole = Array.isArray(known) ? together(known as Examples[], asked) : (known as Examples);
  return { ...whole, examples: whole.examples.slice(0, most) };
}

/** Put the bins of an interval together as the server would: the first piece of every bin, then the second. */
function together(bins: Examples[], asked: URLSearchParams): Examples {
  const [low, high] = [Number(asked.get("low")), Number(asked.get("high"))];
  const inside = bins.filter((bin) => (bin.low as number) >= low && (bin.high as number) <= high);
  const first = inside[0] ?? (bins[0] as Examples);
  const longest = Math.max(0, ...inside.map((bin) => bin.examples.length));
  const examples = Array.from({ length: longest }, (_, i) => inside.flatMap((bin) => bin.examples[i] ?? [])).flat();
  const total = inside.reduce((sum, bin) => sum + (bin.total ?? 0), 0);
  return { ...first, low, high, examples, total, note: examples.length ? (inside.find((bin) => bin.examples.length) as Examples).note : first.note };
}

if (exportedFile) {
  // A link without an address is none: it takes no focus, and says why.
  const before = options.vnode;
  options.vnode = (vnode: VNode) => {
    const props = vnode.props as Record<string, unknown>;
    if (vnode.type === "a" && typeof props.href === "string" && props.href.startsWith("/") && !holds(props.href)) {
      delete props.href;
      props.role = "link";
      props["aria-disabled"] = "true";
      props.title = exportedFile.absent;
    }
    before?.(vnode);
  };
}
