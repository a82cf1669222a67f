// A screen whose code is loaded when it is first opened.
import type { FunctionComponent, JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Failed } from "./States";

interface Props {
  load: () => Promise<FunctionComponent<{ id: string }>>;
  id?: string;
}

/** Load a screen, then show it; say so if the server has stopped meanwhile. */
export function Later({ load, id = "" }: Props): JSX.Element {
  const [found, setFound] = useState<{ load: Props["load"]; Screen?: FunctionComponent<{ id: string }>; fault?: string }>();
  useEffect(() => {
    let asked = true;
    load()
      .then((Screen) => asked && setFound({ load, Screen }))
      .catch((fault: unknown) => asked && setFound({ load, fault: String(fault) }));
    return () => {
      asked = false;
    };
  }, [load]);
  if (found?.load !== load) return <p class="waiting soft">loading …</p>;
  if (found.Screen) return <found.Screen id={id} />;
  const remedy = "Start the server again with `patchclamp atlas serve`, then reload this page.";
  return <Failed failure={{ status: 0, expected: "the code of this screen", got: found.fault ?? "none", remedy }} />;
}
