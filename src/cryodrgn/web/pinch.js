// Two fingers that move apart or together.

// Calls zoom(factor, x, y) with the ratio of their distances and the place between them.
export function onPinch(canvas, zoom) {
  const fingers = new Map();
  const spread = () => {
    const [[ax, ay], [bx, by]] = fingers.values();
    const box = canvas.getBoundingClientRect();
    return { apart: Math.max(Math.hypot(ax - bx, ay - by), 1), x: (ax + bx) / 2 - box.left, y: (ay + by) / 2 - box.top };
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch") fingers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const before = fingers.size === 2 ? spread() : null;
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (!before) return;
    const { apart, x, y } = spread();
    zoom(apart / before.apart, x, y);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
}
