// Generated from the server's OpenAPI schema by `python web/typescript.py`; do not edit.

export interface AtlasPage {
  name: string;
  title: string;
  hash: string;
  base: string;
  version: number;
  modality: string;
  recording: RecordingView | null;
  subject: SubjectView;
  corpus: CorpusView;
  sites: SiteRow[];
  n_units: number;
  n_described: number;
  n_scored: number;
  n_silent: number;
  n_examples: number;
  explained: GraphRow[];
  begin: Suggestion[];
  layers: LayerRow[];
  bytes: number;
  baked: string;
  notes: string[];
  source: Source;
}

export interface AttentionPage {
  layer: number;
  tokens: string[];
  ids: number[];
  special: number[];
  bytes: number[];
  start: number;
  mark: number | null;
  heads: HeadPattern[];
  source: Source;
}

export interface AttentionShares {
  targets: number;
  first: number | null;
  itself: number | null;
  previous: number | null;
  next: number | null;
  same: number | null;
  others: number | null;
}

export interface CauseRow {
  key: string;
  name: string;
  kind: string;
  unit: string | null;
  known: string;
  position: number | null;
  token: string;
  value: number | null;
  predicted: number;
  measured: number | null;
}

export interface CircuitAsked {
  pairs: string;
  level: "node" | "neuron" | "edge";
  controls: number;
  seed: number;
}

export interface ClampAsked {
  key: string;
  mode: "set" | "add" | "scale" | "ablate" | "patch";
  value: number | null;
  at: string;
}

export interface ClampableUnit {
  key: string;
  name: string;
}

export interface Clamped {
  key: string;
  before: (number | null)[];
  after: (number | null)[];
  outside: boolean;
}

export interface ClassRow {
  index: number;
  name: string;
  before: number | null;
  after: number | null;
}

export interface ComparedUnit {
  key: string;
  name: string;
  label: string;
  unit: string | null;
}

export interface ComparisonList {
  rows: ComparisonRow[];
  total: number;
  source: Source;
}

export interface ComparisonPage {
  comparison: ComparisonRow;
  n: number;
  n_conditions: number;
  layers: LayerGrid | null;
  shuffled: number | null;
  shuffled_low: number | null;
  shuffled_high: number | null;
  ceiling: number | null;
  estimate: EstimateView;
  agreement: number | null;
  random: number[];
  pairs: PairList | null;
  moved: MovedUnit[];
  n_moved: number;
  shifts: PlacedShift[];
  texts: TextShift[];
  lens: LensView | null;
  matrices: LayerGrid[];
  notice: string;
  cautions: string[];
  source: Source;
}

export interface ComparisonRow {
  id: string;
  kind: string;
  first: string;
  second: string;
  sentence: string;
}

export interface ConceptScore {
  concept: string;
  kind: string;
  auroc: EstimateView;
}

export interface Control {
  target: TokenView;
  measured: number | null;
  randoms: (number | null)[];
  mean: EstimateView;
  p: number;
  other_decile: number;
  drawn: string;
  seed: number;
  grade: string;
  sentence: string;
  rule: string;
}

export interface CorpusView {
  name: string;
  hash: string;
  stimuli: number;
  tokens: number;
  counted: number;
  window: number;
  labelled: number;
}

export interface Course {
  label: string;
  condition: string;
  n: number;
  mean: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
}

export interface DescribeAsked {
  unit: string;
  seed: number;
}

export interface DescribeCost {
  possible: boolean;
  reason: string;
  tokens: number;
  passes: number;
  seconds: number | null;
}

export interface Described {
  id: string;
  text: string;
  reason: string;
  author: string;
  evidence: string[];
  scores: EstimateView[];
  random: EstimateView[];
  wrong: WrongWindow[];
  seconds: number;
}

export interface DescriptionView {
  text: string;
  author: string;
  made: string | null;
  evidence: string[];
  scores: EstimateView[];
  fails_on: number;
  run: string;
  note: string;
}

export interface EdgeAsked {
  source: string;
  target: string;
  slot: string;
}

export interface EdgeRow {
  source: string;
  target: string;
  weight: number;
  slot: string;
  measured: number | null;
}

export interface EdgeVerified {
  source: string;
  target: string;
  slot: string;
  predicted: number | null;
  measured: number | null;
}

export interface EdgesVerified {
  edges: EdgeVerified[];
  baseline: string;
}

export interface EstimateView {
  value: number | null;
  low: number | null;
  high: number | null;
  level: number | null;
  interval: string | null;
  n: number;
  unit: string;
  null_low: number | null;
  null_high: number | null;
  null: string | null;
  p: number | null;
  ceiling: number | null;
}

export interface Example {
  kind: "top" | "lowest" | "range" | "quantile" | "random" | "counter" | "interval";
  value: number;
  mark: number;
  tokens: string[];
  ids: number[];
  acts: (number | null)[];
  special: number[];
  bytes: number[];
  before: boolean;
  after: boolean;
  stimulus: number;
  position: number;
  reason: string;
}

export interface ExampleLine {
  tokens: string[];
  acts: (number | null)[];
  bytes: number[];
  mark: number;
  value: number;
}

export interface Examples {
  key: string;
  kind: "top" | "lowest" | "range" | "quantile" | "random" | "counter" | "interval";
  low: number | null;
  high: number | null;
  examples: Example[];
  total: number | null;
  note: string;
  source: Source;
}

export interface ExplainAsked {
  prompt: string;
  target: string;
  contrast: string | null;
  counterpart: string | null;
  top: number;
  controls: number;
  seed: number;
}

export interface ExplainCost {
  units: number;
  backward: number;
  forward: number;
  sets: number;
  least_p: number;
}

export interface ExplainPictureAsked {
  picture: number | string;
  target: number;
  contrast: number | null;
  top: number;
  controls: number;
  seed: number;
}

export interface Explained {
  graph: GraphRow;
  causes: CauseRow[];
  rule: string;
  seconds: number;
}

export interface FailingUnit {
  key: string;
  name: string;
  text: string;
  score: EstimateView;
  wrong: number;
}

export interface Finished {
  id: string;
  seconds: number;
  python: string;
  command: string;
}

export interface GraphList {
  rows: GraphRow[];
  total: number;
  source: Source;
}

export interface GraphPage {
  graph: GraphRow;
  nodes: NodeRow[];
  edges: EdgeRow[];
  total: number;
  total_edges: number;
  kept: number | null;
  tokens: string[];
  layers: number | null;
  notice: string;
  measures: Record<string, number>;
  subject: Record<string, string>;
  explains: Record<string, unknown>;
  about: Record<string, unknown>;
  rule: string;
  picture: GraphPicture | null;
  source: Source;
}

export interface GraphPicture {
  src: string;
  picture: string;
  size: number[];
  rows: number;
  columns: number;
  heat: (number | null)[];
  apart: number | null;
}

export interface GraphRow {
  id: string;
  kept: boolean;
  prompt: string;
  target: string;
  contrast: string | null;
  method: string;
  n_nodes: number;
  metric: number | null;
  score: number | null;
  measured: number | null;
  position: number | null;
  measured_together: number | null;
  control_low: number | null;
  control_high: number | null;
  p: number | null;
  grade: string;
  sentence: string;
  cautions: string[];
  quantity: string;
  target_read: string;
  contrast_read: string;
}

export interface GroupRow {
  name: string;
  units: number;
}

export interface HeadPair {
  source: TokenView;
  target: TokenView;
  weight: number;
  n: number;
}

export interface HeadPanels {
  shares: AttentionShares;
  attends: HeadPair[];
  writes: HeadWrite[];
  matches: HeadPair[];
  query_reads: Neighbour[];
  key_reads: Neighbour[];
  tried: number;
  copies: number;
  erases: number;
  patterns: Record<string, number[]>;
}

export interface HeadPattern {
  key: string;
  head: number;
  rows: number[][];
  first: number[];
  elsewhere: number[];
}

export interface HeadWrite {
  source: TokenView;
  promoted: TokenWeight[];
}

export interface HeatAsked {
  text: string;
  of: "activation" | "attribution" | "patching";
  part: "resid" | "attn" | "mlp" | "all";
  unit: string;
  other: string;
  clamps: ClampAsked[];
  target: number | null;
  contrast: number | null;
}

export interface HeatPage {
  of: "activation" | "attribution" | "patching";
  cut: Tokens;
  other: Tokens | null;
  quantity: string;
  rows: HeatRow[];
  target: TokenView | null;
  contrast: TokenView | null;
  metric: number | null;
  other_metric: number | null;
  method: string;
  total: number;
  source: Source;
}

export interface HeatRow {
  keys: string[];
  name: string;
  short: string;
  layer: number | null;
  values: (number | null)[];
  changed: (number | null)[];
}

export interface Histogram {
  edges: number[];
  tokens: number[];
  pieces: number[];
}

export interface KeepAsked {
  id: string;
}

export interface Kept {
  id: string;
}

export interface KindCount {
  kind: "top" | "lowest" | "range" | "quantile" | "random" | "counter" | "interval";
  n: number;
}

export interface LabPage {
  attached: boolean;
  shows: "texts" | "pictures" | "recording";
  model: string;
  remedy: string;
  context: number | null;
  generates: boolean;
  differentiates: boolean;
  most_clamps: number;
  most_new: number;
  source: Source;
}

export interface LabRun {
  id: string;
  asked: RunAsked;
  table: Table | null;
  steps: Step[];
  control: Control | null;
  finished: Finished | null;
}

export interface LayerGrid {
  rows: string[];
  columns: string[];
  value: ((number | null)[])[];
  low: ((number | null)[])[];
  high: ((number | null)[])[];
}

export interface LayerRow {
  id: string;
  kind: string;
  rows: number;
  title: string;
  bytes: number;
}

export interface LensAsked {
  text: string;
  other: string;
  clamps: ClampAsked[];
  target: number | null;
  top: number;
}

export interface LensDepth {
  first: string;
  second: string;
  value: number;
  low: number | null;
  high: number | null;
  agreement: number;
  places: LensSpot[];
}

export interface LensPage {
  cut: Tokens;
  rows: LensRow[];
  changed: LensRow[];
  words: TokenView[];
  target: TokenView;
  source: Source;
}

export interface LensRow {
  key: string;
  name: string;
  short: string;
  layer: number;
  ids: number[][];
  probabilities: ((number | null)[])[];
  ranks: number[];
  target_probabilities: (number | null)[];
}

export interface LensSpot {
  context: string;
  divergence: number;
  first: LikelyToken[];
  second: LikelyToken[];
}

export interface LensView {
  sentence: string;
  layers: LensDepth[];
  part: number | null;
  n_tokens: number;
}

export interface Likely {
  token: TokenView;
  probability: number;
}

export interface LikelyToken {
  token: string;
  probability: number;
}

export interface LinePart {
  of: string;
  text: string;
}

export interface Match {
  of: string;
  text: string;
}

export interface MovedUnit {
  unit: ComparedUnit;
  r: number | null;
  mean_first: number | null;
  mean_second: number | null;
  max_first: number | null;
  max_second: number | null;
  cosine: number | null;
  change: number;
  share: number;
}

export interface Near {
  key: string;
  name: string;
  r: number;
  low: number | null;
  high: number | null;
  p: number | null;
  groups: string[];
}

export interface Neighbour {
  key: string;
  name: string;
  value: number;
  label: string;
}

export interface NextToken {
  id: number;
  text: string;
  bytes: boolean;
  unclamped: number | null;
  changed: number | null;
  delta: number | null;
  unclamped_logit: number | null;
  changed_logit: number | null;
}

export interface NextTokens {
  cut: Tokens;
  rows: Likely[];
  cost: ExplainCost | null;
}

export interface NodePlaceView {
  position: number;
  name: string;
  box: number[];
  cell: number[];
}

export interface NodeRow {
  key: string;
  name: string;
  label: string;
  kind: string;
  unit: string | null;
  site: string;
  layer: number | null;
  position: number | null;
  score: number;
  measured: number | null;
  value: number | null;
  baseline: number | null;
  place: NodePlaceView | null;
}

export interface NoteAsked {
  unit: string;
  kind: "note" | "star" | "description" | "tag" | "withdraw";
  text: string;
  author: string;
  replaces: string;
}

export interface NoteList {
  rows: NoteView[];
  total: number;
  starred: number;
  source: Source;
}

export interface NoteView {
  id: string;
  unit: string;
  name: string;
  kind: "note" | "star" | "description" | "tag" | "withdraw";
  text: string;
  author: string;
  time: string;
}

export interface PairList {
  rows: UnitPair[];
  total: number;
  above: number;
  threshold: number | null;
  row: number | null;
  column: number | null;
}

export interface PairsRead {
  pairs: number;
  aside: SetAside[];
  quantity: string;
  reversed: number;
  metric_clean: number | null;
  metric_corrupted: number | null;
  parts: number;
  method: string;
  forward: number;
  backward: number;
  seconds: number;
  most_seconds: number;
}

export interface PictureAsked {
  picture: number | string;
  clamps: ClampAsked[];
  unit: string;
  controls: number;
  seed: number;
}

export interface PictureExample {
  kind: "top" | "lowest" | "range" | "random" | "interval";
  value: number;
  picture: number;
  name: string;
  label: string | null;
  position: number;
  place: string;
  box: number[] | null;
  cell: number[] | null;
  heat: (number | null)[];
}

export interface PictureExamples {
  key: string;
  kind: "top" | "lowest" | "range" | "random" | "interval";
  rows: number;
  columns: number;
  pooled: boolean;
  size: number[];
  most: number;
  examples: PictureExample[];
  total: number;
  note: string;
  source: Source;
}

export interface PictureList {
  rows: PictureRow[];
  total: number;
  source: Source;
}

export interface PictureRow {
  picture: number;
  name: string;
  label: string | null;
}

export interface PictureRun {
  picture: number | string;
  src: string;
  name: string;
  label: string | null;
  size: number[];
  classes: ClassRow[];
  unit: UnitOnPicture | null;
  control: Control | null;
  cost: ExplainCost | null;
  source: Source;
}

export interface PlacedShift {
  token: string;
  first: number;
  second: number;
  context: string;
}

export interface PlantedTruth {
  place: string;
  figure: string;
  oracle: EstimateView;
  method: EstimateView;
  random: EstimateView;
}

export interface Problem {
  expected: string;
  got: string;
  remedy: string;
}

export interface Progressed {
  done: number;
  total: number;
  share: number | null;
  left: number | null;
}

export interface Quantile {
  probability: number;
  value: number | null;
}

export interface Queued {
  ahead: number;
}

export interface RankedUnit {
  key: string;
  name: string;
  value: number | null;
  effect: number | null;
  mean: number | null;
  minimum: number | null;
  maximum: number | null;
  label: string;
}

export interface Ranking {
  position: number;
  by: "activation" | "effect";
  target: TokenView | null;
  contrast: TokenView | null;
  metric: number | null;
  method: string;
  units: RankedUnit[];
  total: number;
  source: Source;
}

export interface Raster {
  trials: number;
  total: number;
  samples: number[];
}

export interface RecordedTrace {
  trial: number;
  trials: number[];
  exact: boolean;
  low: (number | null)[];
  high: (number | null)[];
}

export interface RecordedUnit {
  key: string;
  measure: string;
  rate_measure: string;
  rate: number | null;
  start: number;
  trials: number;
  samples: number;
  missing: number;
  constant: boolean;
  peak: number[] | null;
  trace: RecordedTrace;
  raster: Raster | null;
  course_starts: number[];
  courses: Course[];
  tuning: Tuning[];
  near: Near[];
  chance: number | null;
  shifts: number;
  groups: string[];
  within: number | null;
  outside: number | null;
  within_low: number | null;
  within_high: number | null;
  labels: Record<string, string>;
  place: Record<string, number>;
  cannot: string;
  source: Source;
}

export interface RecordingView {
  measure: string;
  rate: number | null;
  start: number;
  trials: number;
  samples: number;
  axes: string[];
  trial_labels: string[];
  time_labels: string[];
  unit_labels: string[];
  groups: GroupRow[];
  n_groups: number;
  mean_r: number | null;
  mean_r_within: number | null;
  missing: number;
  constant: number;
  shifts: number;
  blocks: number;
  numbered: boolean;
  cannot: string;
}

export interface Refusal {
  error: Problem;
}

export interface Refused {
  error: Problem;
}

export interface Response {
  key: string;
  name: string;
  position: number;
  value: number | null;
  share: number | null;
  acts: (number | null)[];
  maximum: number | null;
  frequency: number | null;
  label: string;
}

export interface Responses {
  cut: Tokens;
  by: "share" | "value";
  rows: Response[];
  responding: number;
  total: number;
  source: Source;
}

export interface RunAsked {
  text: string;
  other: string;
  clamps: ClampAsked[];
  top: number;
  new_tokens: number;
  controls: number;
  target: number | null;
  seed: number;
}

export interface RunList {
  rows: RunRow[];
  total: number;
  unverified: string;
  source: Source;
}

export interface RunPage {
  run: RunRow;
  host: string | null;
  versions: Record<string, string>;
  seeds: Record<string, number>;
  hashes: Record<string, string>;
  options: Record<string, string>;
  log: string[];
  rebuild: string;
  curves: Record<string, Record<string, number[][]>>;
  unverified: string;
  source: Source;
}

export interface RunRow {
  id: string;
  verb: string;
  command: string;
  began: string | null;
  duration_s: number | null;
  made: string;
}

export interface SetAside {
  reason: string;
  pairs: number;
}

export interface Sets {
  different: number;
  floor: number;
  sentence: string;
}

export interface SetsAsked {
  graph: string;
  nodes: string[];
  clamps: ClampAsked[];
}

export interface SiteRow {
  site: string;
  name: string;
  kind: string;
  layer: number | null;
  basis: string;
  units: number;
  described: number;
  silent: number;
}

export interface Source {
  run: string;
  command: string;
  python: string;
}

export interface Spark {
  low: (number | null)[];
  high: (number | null)[];
}

export interface Statistics {
  counted: number;
  frequency: number | null;
  mean: number | null;
  deviation: number | null;
  minimum: number | null;
  maximum: number | null;
  quantiles: Quantile[];
}

export interface Step {
  step: number;
  unclamped: TokenView | null;
  changed: TokenView | null;
}

export interface SubjectView {
  slug: string;
  name: string;
  hash: string;
  architecture: string;
  dtype: string;
}

export interface Suggestion {
  row: UnitRow;
  why: string;
}

export interface Table {
  rows: NextToken[];
  clamps: Clamped[];
  divergence: number | null;
  neutral: boolean;
  seconds: number;
}

export interface TextShift {
  tokens: string[];
  ids: number[];
  divergence: number[];
  shifts: TokenShift[][];
  stimulus: number;
  start: number;
}

export interface Tissue {
  prefix: string;
  axes: string[];
  units: number[];
  names: string[];
  x: number[];
  y: number[];
  z: number[];
  r: (number | null)[];
  own: number[];
  groups: TissueGroup[];
  total: number;
  source: Source;
}

export interface TissueGroup {
  name: string;
  n: number;
  mapped: number[];
}

export interface TokenShift {
  token: string;
  first: number;
  second: number;
}

export interface TokenView {
  id: number;
  text: string;
  bytes: boolean;
}

export interface TokenWeight {
  id: number;
  text: string;
  bytes: boolean;
  weight: number;
}

export interface Tokens {
  tokens: string[];
  ids: number[];
  special: number[];
  bytes: number[];
}

export interface Trial {
  key: string;
  tokens: string[];
  ids: number[];
  acts: (number | null)[];
  special: number[];
  bytes: number[];
  source: Source;
}

export interface TrustMeasure {
  measure: string;
  judge: string;
  described: EstimateView;
  quantiles: (number | null)[];
  good: number | null;
  shuffled: EstimateView | null;
  random: EstimateView | null;
  missing: number | null;
  calls: number;
  tokens: number;
  seconds: number | null;
}

export interface TrustMethod {
  run: string;
  author: string;
  units: number;
  calls: number;
  tokens: number;
  seconds: number | null;
  failed: UnitsFailed[];
  measures: TrustMeasure[];
  truth: PlantedTruth[];
}

export interface TrustPage {
  n_units: number;
  n_described: number;
  n_scored: number;
  methods: TrustMethod[];
  points: TrustPoints | null;
  failing: FailingUnit[];
  n_failing: number;
  source: Source;
}

export interface TrustPoints {
  run: string;
  author: string;
  measure: string;
  chance: number;
  keys: string[];
  frequency: number[];
  score: number[];
  total: number;
}

export interface Tuning {
  label: string;
  over: "trials" | "runs of trials" | "blocks of time";
  points: TuningPoint[];
}

export interface TuningPoint {
  condition: string;
  mean: number | null;
  low: number | null;
  high: number | null;
  n: number;
}

export interface UnitLine {
  text: string;
  parts: LinePart[];
  detects: ConceptScore | null;
  weak: string;
  strongest: TokenWeight | null;
  promotes: TokenWeight[];
  frequency: number | null;
  silent: boolean;
  minimum: number | null;
  attends: string;
}

export interface UnitList {
  rows: UnitRow[];
  first: number;
  total: number;
  n_units: number;
  next: string | null;
  previous: string | null;
  sort: "relevance" | "key" | "frequency" | "maximum" | "mean" | "score" | "concept";
  descending: boolean;
  unknown: string[];
  source: Source;
}

export interface UnitOnPicture {
  key: string;
  value: number | null;
  place: string;
  box: number[] | null;
  cell: number[] | null;
  rows: number;
  columns: number;
  heat: (number | null)[];
}

export interface UnitPage {
  key: string;
  name: string;
  site_name: string;
  line: UnitLine;
  modality: string;
  subject: string;
  site: string;
  layer: number | null;
  basis: string;
  index: number;
  previous: string | null;
  next: string | null;
  statistics: Statistics;
  histogram: Histogram | null;
  silent: boolean;
  fires_on: TokenWeight[];
  descriptions: DescriptionView[];
  concepts: ConceptScore[];
  promotes: TokenWeight[];
  suppresses: TokenWeight[];
  excited_by: TokenWeight[];
  inhibited_by: TokenWeight[];
  driven_by: Neighbour[];
  similar: Neighbour[];
  together: Neighbour[];
  not_known: Record<string, string>;
  approximate: Record<string, string>;
  head: HeadPanels | null;
  examples: KindCount[];
  graphs: GraphRow[];
  source: Source;
}

export interface UnitPair {
  first: ComparedUnit;
  second: ComparedUnit;
  r: number;
  mutual: boolean;
}

export interface UnitRow {
  key: string;
  name: string;
  site: string;
  layer: number | null;
  basis: string;
  index: number;
  frequency: number | null;
  maximum: number | null;
  mean: number | null;
  line: LinePart[];
  example: ExampleLine | null;
  matched: Match[];
  fires_on: TokenView | null;
  description: string | null;
  author: string | null;
  score: EstimateView | null;
  concept: string | null;
  auroc: number | null;
  starred: boolean;
  spark: Spark | null;
}

export interface UnitsFailed {
  reason: string;
  units: number;
}

export interface UploadAsked {
  name: string;
  data: string;
}

export interface Uploaded {
  id: string;
  name: string;
}

export interface Verified {
  nodes: number;
  metric_clean: number | null;
  predicted: number | null;
  measured: number | null;
  randoms: (number | null)[];
  size: number;
  mean: EstimateView;
  different: number;
  p: number | null;
  baseline: string;
  seed: number;
  grade: string;
  sentence: string;
  rule: string;
}

export interface VerifyAsked {
  graph: string;
  nodes: string[];
  edges: EdgeAsked[];
  controls: number;
  seed: number;
}

export interface WriteState {
  enabled: boolean;
  remedy: string;
  longest: number;
}

export interface WrongWindow {
  tokens: string[];
  acts: (number | null)[];
  bytes: number[];
  ids: number[];
  mark: number;
  reason: string;
}
