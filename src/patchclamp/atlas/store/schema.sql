-- The base of an atlas, version 2. Written once by `patchclamp atlas bake`, afterwards only read.
-- Arrays are little-endian blobs: f2, f4, f8 floats; i4, i8 integers; u1 bytes.

CREATE TABLE about (            -- subject, sites, plan, versions, corpus, settings: JSON by name
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE sites (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL,
    kind TEXT NOT NULL,
    layer INTEGER,
    basis TEXT NOT NULL,
    first INTEGER NOT NULL,     -- id of its unit 0; the others follow
    units INTEGER NOT NULL,
    UNIQUE (path, basis)
) STRICT;

CREATE TABLE units (
    id INTEGER PRIMARY KEY,
    site INTEGER NOT NULL REFERENCES sites (id),
    number INTEGER NOT NULL,    -- in its basis
    frequency REAL,             -- share of counted tokens above zero
    mean REAL,
    deviation REAL,
    minimum REAL,
    maximum REAL,
    quantiles BLOB NOT NULL,    -- f8, at the survey's probabilities
    edges BLOB,                 -- f8, of the histogram; NULL where it never changed
    tokens BLOB,                -- i8 per bin
    pieces BLOB,                -- i8 per bin, by the piece's maximum
    fires_on INTEGER,           -- the token that stands most often at its top examples
    concept TEXT,               -- the concept or pattern that it detects best
    auroc REAL
) STRICT;

CREATE TABLE tokens (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL,
    bytes INTEGER NOT NULL      -- 1: part of a character, and text its bytes in hex
) STRICT;

CREATE TABLE contexts (
    stimulus INTEGER PRIMARY KEY,
    ids BLOB NOT NULL,          -- i4
    counted BLOB NOT NULL       -- u1: 1 where statistics count the token
) STRICT;

CREATE TABLE examples (
    unit INTEGER NOT NULL,
    kind INTEGER NOT NULL,      -- 0 top, 1 quantile, 2 random, 3 interval, 4 lowest
    rank INTEGER NOT NULL,
    value REAL NOT NULL,        -- activation at the marked token
    stimulus INTEGER NOT NULL,
    position INTEGER NOT NULL,  -- of the marked token
    start INTEGER NOT NULL,     -- position of the strip's first token
    acts BLOB NOT NULL,         -- f2 along the strip
    PRIMARY KEY (unit, kind, rank)
) STRICT, WITHOUT ROWID;

CREATE TABLE panels (           -- what stands beside a unit: tokens or other units, with numbers
    unit INTEGER NOT NULL,
    name TEXT NOT NULL,         -- promotes suppresses excited_by inhibited_by: tokens; driven_by similar together,
                                -- and of heads query_reads key_reads: units
    ids BLOB NOT NULL,          -- i4
    weights BLOB NOT NULL,      -- f4
    PRIMARY KEY (unit, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE heads (            -- of attention heads: mean attention per target token, over part of the text
    unit INTEGER PRIMARY KEY,
    targets INTEGER NOT NULL,   -- tokens whose attention was measured
    first REAL,                 -- share on the first token of the text; NULL where shares are not finite
    itself REAL,                -- each weight counts in the first share that it belongs to
    previous REAL,              -- on the token before
    next REAL,                  -- on the token after
    same REAL,                  -- on other tokens of the same text
    tokens INTEGER NOT NULL,    -- frequent tokens that the weights were tried on
    copies REAL NOT NULL,       -- share of them that the head promotes most where it attends to them
    erases REAL NOT NULL        -- and that it suppresses most
) STRICT;

CREATE TABLE pairs (            -- of attention heads: pairs of tokens
    unit INTEGER NOT NULL,
    name TEXT NOT NULL,         -- attends: target attends most to source; writes: source promotes target; matches: q · k
    rank INTEGER NOT NULL,
    source INTEGER NOT NULL,
    target INTEGER NOT NULL,
    weight REAL NOT NULL,
    n INTEGER NOT NULL,         -- how often, of attends
    PRIMARY KEY (unit, name, rank)
) STRICT, WITHOUT ROWID;

CREATE TABLE patterns (         -- of attention heads: the attention along an example's strip
    unit INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    weights BLOB NOT NULL,      -- f2, row after row: of causal attention up to the diagonal, else whole
    first BLOB NOT NULL,        -- f2 per target: on the text's first token where the strip begins later
    elsewhere BLOB NOT NULL,    -- f2 per target: on other tokens outside the strip
    PRIMARY KEY (unit, kind, rank)
) STRICT, WITHOUT ROWID;

CREATE TABLE concepts (
    unit INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    kind TEXT NOT NULL,         -- label: a labelled concept; token, after, class: a pattern of tokens
    concept TEXT NOT NULL,
    auroc REAL NOT NULL,
    low REAL NOT NULL,
    high REAL NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (unit, rank)
) STRICT, WITHOUT ROWID;

CREATE TABLE fires (            -- tokens at top examples
    token INTEGER NOT NULL,
    unit INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (token, unit)
) STRICT, WITHOUT ROWID;

CREATE TABLE strongest (        -- the token at which a unit is strongest on average
    unit INTEGER PRIMARY KEY,
    token INTEGER NOT NULL,
    mean REAL NOT NULL,
    n INTEGER NOT NULL          -- times that it occurs among those measured
) STRICT;

CREATE INDEX fires_by_unit ON fires (unit);
CREATE INDEX units_by_frequency ON units (frequency);
CREATE INDEX units_by_maximum ON units (maximum);
CREATE INDEX units_by_mean ON units (mean);
CREATE INDEX units_by_auroc ON units (auroc);

-- Outside the content hash: made from the tables above.
CREATE VIRTUAL TABLE words USING fts5 (fires_on, promotes, concept, content = '', tokenize = 'unicode61');
