// Numbers as every screen writes them: readable without hover, aligned, with a true minus.

/** Two decimals, three below 1, none for "not defined"; very large ones as powers. */
export function number(value: number | null | undefined, signed = false): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "not defined";
  const size = Math.abs(value);
  const digits = size === 0 ? "0.00" : size >= 1e5 ? size.toExponential(2) : size < 1 ? size.toFixed(3) : size.toFixed(2);
  // What three decimals do not show is nothing to a reader, and has no sign.
  if (Number(digits) === 0) return size === 0 ? "0.00" : "0";
  return `${value < 0 ? "−" : signed ? "+" : ""}${digits.replace("e+", "e").replace("e-", "e−")}`;
}

/** Digits in groups of three. */
export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** A share in percent; what fires at all is never written as 0. */
export function percent(share: number | null | undefined): string {
  if (share === null || share === undefined || !Number.isFinite(share)) return "not defined";
  if (share === 0) return "0\u00a0%";
  if (share < 1e-4) return "<\u00a00.01\u00a0%";
  const hundred = share * 100;
  const digits = hundred < 1 ? 2 : hundred < 99.95 ? 1 : 0;
  return `${hundred.toFixed(digits)}\u00a0%`;
}

/** Bytes in the unit that a person would choose. */
export function bytes(size: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let step = 0;
  while (size >= 1000 && step < units.length - 1) [size, step] = [size / 1000, step + 1];
  return `${step === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)}\u00a0${units[step]}`;
}

/** Seconds in the unit that a person would choose. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "not recorded";
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 1)}\u00a0s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}\u00a0min ${Math.round(seconds % 60)}\u00a0s`;
  return `${Math.floor(seconds / 3600)}\u00a0h ${Math.round((seconds % 3600) / 60)}\u00a0min`;
}

/** One thing, several things. */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** When a run began, to the minute. */
export function began(run: { began: string | null }): string {
  return run.began ? run.began.slice(0, 16).replace("T", " ") : "not recorded";
}
