// Which part of the picture is seen, and how large: wheel, drag, two fingers, buttons and keys.
import type { RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Layout, Spot } from "./layout";

/** A point p of the picture is seen at p · k + (x, y). */
export interface Camera {
  k: number;
  x: number;
  y: number;
}

const LEAST = 0.1;
const MOST = 6;
/** Below this, words on cards cannot be read: the picture is then moved instead. */
const READABLE = 0.78;
const LARGEST = 1.2;
const STEP = 1.35;
const KEPT_IN_VIEW = 60;
const MOVED = 4;

export interface View {
  camera: Camera;
  height: number;
  zoom: (by: number) => void;
  move: (x: number, y: number) => void;
  fit: () => void;
  /** Move so that a spot is seen. */
  show: (spot: Spot) => void;
  /** Whether the pointer has just moved the picture: what follows is no click. */
  dragged: () => boolean;
}

/** How a picture is first seen: as wide as its window, and not smaller than can be read. */
function opening(layout: Layout, width: number, height: number, whole: boolean, answersFirst: boolean): Camera {
  const least = whole || !layout.cards ? LEAST : READABLE;
  const k = Math.max(Math.min(width / layout.width, whole ? height / layout.height : LARGEST, LARGEST), least);
  // What is too wide begins where the answer comes out.
  const x = layout.width * k > width + 1 ? (answersFirst ? 0 : width - layout.width * k) : (width - layout.width * k) / 2;
  return { k, x, y: Math.max((height - layout.height * k) / 2, 0) };
}

export function useCamera(box: RefObject<HTMLDivElement | null>, layout: Layout | null, width: number, id: string, answersFirst = false): View {
  const tall = typeof innerHeight === "number" ? Math.max(innerHeight * 0.86, 420) : 700;
  const natural = layout ? layout.height * opening(layout, width, tall, false, answersFirst).k : 0;
  const height = Math.round(Math.min(Math.max(natural, 160), Math.max(tall, natural < tall * 1.25 ? natural : 0)));
  const [camera, setCamera] = useState<Camera>({ k: 1, x: 0, y: 0 });
  const now = useRef({ camera, layout, width, height });
  now.current = { camera, layout, width, height };
  const pointers = useRef(new Map<number, { x: number; y: number }>());
  const travelled = useRef(0);

  const set = ({ k, x, y }: Camera) => {
    const { layout, width, height } = now.current;
    if (!layout) return;
    const size = Math.min(Math.max(k, LEAST), MOST);
    const within = (at: number, extent: number, room: number) => Math.min(Math.max(at, KEPT_IN_VIEW - extent * size), room - KEPT_IN_VIEW);
    const next = { k: size, x: within(x, layout.width, width), y: within(y, layout.height, height) };
    now.current.camera = next;
    setCamera(next);
  };
  const zoomAt = (by: number, px: number, py: number) => {
    const { k, x, y } = now.current.camera;
    const size = Math.min(Math.max(k * by, LEAST), MOST);
    set({ k: size, x: px - ((px - x) * size) / k, y: py - ((py - y) * size) / k });
  };

  // Another graph, another width: seen from the beginning. Another layout of the same graph stays where it is.
  useLayoutEffect(() => {
    if (layout) set(opening(layout, width, height, false, answersFirst));
  }, [id, width, layout === null, layout?.width, layout?.height]);

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const held = pointers.current;
    const where = (event: PointerEvent | WheelEvent) => {
      const { left, top } = element.getBoundingClientRect();
      return { x: event.clientX - left, y: event.clientY - top };
    };
    const wheel = (event: WheelEvent) => {
      // A page that scrolls does not stop at the picture, unless one works in it.
      if (!event.ctrlKey && !event.metaKey && !element.contains(document.activeElement)) return;
      event.preventDefault();
      const at = where(event);
      zoomAt(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), at.x, at.y);
    };
    const down = (event: PointerEvent) => {
      if (event.button !== 0 || (event.target as Element).closest("button")) return;
      if (!held.size) travelled.current = 0;
      held.set(event.pointerId, where(event));
    };
    const moved = (event: PointerEvent) => {
      const before = held.get(event.pointerId);
      if (!before) return;
      const after = where(event);
      const [dx, dy] = [after.x - before.x, after.y - before.y];
      travelled.current += Math.abs(dx) + Math.abs(dy);
      if (held.size === 1 && travelled.current < MOVED) return;
      if (!element.hasPointerCapture(event.pointerId)) element.setPointerCapture(event.pointerId);
      const { camera } = now.current;
      if (held.size === 1) set({ ...camera, x: camera.x + dx, y: camera.y + dy });
      else {
        const other = [...held].find(([key]) => key !== event.pointerId)?.[1];
        if (other) {
          const apart = (p: { x: number; y: number }) => Math.hypot(p.x - other.x, p.y - other.y) || 1;
          zoomAt(apart(after) / apart(before), (after.x + other.x) / 2, (after.y + other.y) / 2);
        }
      }
      held.set(event.pointerId, after);
    };
    const up = (event: PointerEvent) => held.delete(event.pointerId);
    element.addEventListener("wheel", wheel, { passive: false });
    element.addEventListener("pointerdown", down);
    element.addEventListener("pointermove", moved);
    element.addEventListener("pointerup", up);
    element.addEventListener("pointercancel", up);
    return () => {
      element.removeEventListener("wheel", wheel);
      element.removeEventListener("pointerdown", down);
      element.removeEventListener("pointermove", moved);
      element.removeEventListener("pointerup", up);
      element.removeEventListener("pointercancel", up);
    };
  }, [layout === null]);

  return {
    camera,
    height,
    zoom: (by) => zoomAt(by > 0 ? STEP : 1 / STEP, now.current.width / 2, now.current.height / 2),
    move: (x, y) => set({ ...now.current.camera, x: now.current.camera.x + x, y: now.current.camera.y + y }),
    fit: () => layout && set(opening(layout, width, height, true, answersFirst)),
    show: (spot) => {
      const { camera, width, height } = now.current;
      const [x, y] = [spot.x * camera.k + camera.x, spot.y * camera.k + camera.y];
      const margin = Math.min(40 + (spot.width * camera.k) / 2, width / 2);
      const dx = x < margin ? margin - x : x > width - margin ? width - margin - x : 0;
      const dy = y < 40 ? 40 - y : y > height - 40 ? height - 40 - y : 0;
      if (dx || dy) set({ ...camera, x: camera.x + dx, y: camera.y + dy });
    },
    dragged: () => travelled.current >= MOVED,
  };
}
