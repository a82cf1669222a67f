// A component whose code is loaded when it is first shown.
import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Component, Screen } from "../screen";
import { Failed } from "./States";

interface Props {
  load: Screen["load"];
  id?: string;
}

/** Show a component, at once where it is there; say so if the server has stopped meanwhile. */
export function Later({ load, id = "" }: Props): JSX.Element {
  const loaded = useMemo(load, [load]);
  const [found, setFound] = useState<{ from: typeof loaded; Shown?: Component; fault?: string }>();
  useEffect(() => {
    if (!(loaded instanceof Promise)) return;
    let wanted = true;
    loaded
      .then((Shown) => wanted && setFound({ from: loaded, Shown }))
      .catch((fault: unknown) => wanted && setFound({ from: loaded, fault: String(fault) }));
    return () => {
      wanted = false;
    };
  }, [loaded]);
  const Shown = loaded instanceof Promise ? (found?.from === loaded ? found.Shown : undefined) : loaded;
  if (Shown) return <Shown id={id} />;
  if (found?.from !== loaded) return <p class="waiting soft">loading …</p>;
  const remedy = "Start the server again with `patchclamp atlas serve`, then reload this page.";
  return <Failed failure={{ status: 0, expected: "the code of this screen", got: found.fault ?? "none", remedy }} />;
}
