import "./style.css";
import "./theme";
import { Component, type ComponentChildren, type JSX, render } from "preact";
import { Frame } from "./parts/Frame";
import { Failed } from "./parts/States";
import { path } from "./route";
import { Later } from "./parts/Later";
import { Find } from "./screens/Find";
import { Home } from "./screens/Home";
import { Run, Runs } from "./screens/Runs";
import { Unit } from "./screens/Unit";

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

// Screens that most visits do not open are loaded when they are.
const lab = () => import("./screens/Lab").then((m) => m.Lab);
const answers = () => import("./screens/Circuit").then((m) => m.Answers);
const circuit = () => import("./screens/Circuit").then((m) => m.Circuit);

function Screen(): JSX.Element {
  const at = path.value;
  if (at === "/") return <Home />;
  if (at === "/units") return <Find />;
  if (at.startsWith("/units/")) return <Unit address={decoded(at.slice("/units/".length))} />;
  if (at === "/lab") return <Later load={lab} />;
  if (at === "/graphs") return <Later load={answers} />;
  if (at.startsWith("/graphs/")) return <Later load={circuit} id={decoded(at.slice("/graphs/".length))} />;
  if (at === "/runs") return <Runs />;
  if (at.startsWith("/runs/")) return <Run id={decoded(at.slice("/runs/".length))} />;
  const places = "one of the screens: Home, Find, a unit, Lab, Answers, Runs";
  return <Failed failure={{ status: 404, expected: places, got: at, remedy: "Go on from Home." }} />;
}

function Atlas(): JSX.Element {
  return (
    <Frame>
      <Guard at={path.value}>
        <Screen />
      </Guard>
    </Frame>
  );
}

render(<Atlas />, document.getElementById("atlas") as HTMLElement);
