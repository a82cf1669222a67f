// A failure in three parts, as the server sends it and as pages show it.

/** What went wrong, as the server says it: what was expected, what came, and what to do. */
export interface Failure {
  status: number;
  expected: string;
  got: string;
  remedy: string;
}
