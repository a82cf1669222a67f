import "./style.css";
import "./theme";
import "./api/write";
import { Component, type ComponentChildren, type JSX, render } from "preact";
import { Frame } from "./parts/Frame";
import { Failed } from "./parts/States";
import { path } from "./route";
import { Later } from "./parts/Later";
import { SCREENS, find } from "./screens";

interface Guarded {
  at: string;
  children: ComponentChildren;
}

/** A fault in a screen is shown in its place, until one goes elsewhere: never a blank page. */
class Guard extends Component<Guarded, { fault?: { at: string; said: string } }> {
  override componentDidCatch(fault: unknown) {
    this.setState({ fault: { at: this.props.at, said: String(fault) } });
  }

  override render({ at, children }: Guarded) {
    const { fault } = this.state;
    if (fault?.at !== at) return children;
    const remedy = "Reload the page. The same data stand under /api, as JSON.";
    return <Failed failure={{ status: 0, expected: "a screen", got: fault.said, remedy }} />;
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const BAR = SCREENS.filter(({ title }) => title).sort((one, other) => (one.order ?? 0) - (other.order ?? 0));

function Shown(): JSX.Element {
  const found = find(path.value);
  if (!found) {
    const places = `one of the screens: ${BAR.map(({ title }) => title).join(", ")}, a unit`;
    return <Failed failure={{ status: 404, expected: places, got: path.value, remedy: "Go on from Home." }} />;
  }
  const id = decoded(found.rest);
  const { load } = found.screen;
  return <Later load={load} id={id} />;
}

function Atlas(): JSX.Element {
  return (
    <Frame bar={BAR}>
      <Guard at={path.value}>
        <Shown />
      </Guard>
    </Frame>
  );
}

render(<Atlas />, document.getElementById("atlas") as HTMLElement);
