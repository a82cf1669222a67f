-- What the base of an atlas of a recorded brain holds besides: what a page draws of every unit.

CREATE TABLE recorded (
    unit INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    missing INTEGER NOT NULL,   -- samples
    peak INTEGER,               -- number of its highest sample, through all trials; NULL where it has none
    x REAL,                     -- its place in the tissue
    y REAL,
    z REAL,
    chance REAL,                -- 95 % of circular shifts give no larger |r| with any unit; NULL where none was made
    within REAL,                -- mean r with the others of its groups
    outside REAL,               -- mean r with the rest
    within_low REAL,            -- the same mean within groups over circular shifts, 95 %
    within_high REAL
) STRICT;

CREATE TABLE traces (           -- down-sampled: the lowest and the highest sample of every bin
    unit INTEGER NOT NULL,
    trial INTEGER NOT NULL,
    low BLOB NOT NULL,          -- f4; NaN where every sample of a bin is missing
    high BLOB NOT NULL,
    PRIMARY KEY (unit, trial)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (           -- of counts: when it fired, as numbers of samples through all trials
    unit INTEGER PRIMARY KEY,
    trials INTEGER NOT NULL,    -- whole trials that are kept, from the first
    total INTEGER NOT NULL,     -- events in all trials
    samples BLOB NOT NULL       -- i4
) STRICT;

CREATE TABLE courses (          -- mean over trials at every bin of time, with a 95 % interval
    unit INTEGER NOT NULL,
    label TEXT NOT NULL,        -- empty: over all trials
    rank INTEGER NOT NULL,
    condition TEXT NOT NULL,
    n INTEGER NOT NULL,         -- trials
    mean BLOB NOT NULL,         -- f4
    low BLOB NOT NULL,          -- f4; NaN where trials are too few
    high BLOB NOT NULL,
    PRIMARY KEY (unit, label, rank)
) STRICT, WITHOUT ROWID;

CREATE TABLE tuning (           -- mean in every condition of a label, with a 95 % interval
    unit INTEGER NOT NULL,
    label TEXT NOT NULL,
    rank INTEGER NOT NULL,
    condition TEXT NOT NULL,
    mean REAL,
    low REAL,
    high REAL,
    n INTEGER NOT NULL,         -- trials, or blocks of time, in which the condition occurs
    PRIMARY KEY (unit, label, rank)
) STRICT, WITHOUT ROWID;

CREATE TABLE near (             -- the units with the largest correlation, of either sign
    unit INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    other INTEGER NOT NULL,
    r REAL NOT NULL,
    low REAL,
    high REAL,
    p REAL,                     -- share of circular shifts that reach |r| with any unit, itself counted
    PRIMARY KEY (unit, rank)
) STRICT, WITHOUT ROWID;

CREATE TABLE together (         -- correlation with every unit of the map
    unit INTEGER PRIMARY KEY,
    r BLOB NOT NULL             -- f2; NaN where there is none
) STRICT;

CREATE TABLE groups (
    name TEXT NOT NULL,
    unit INTEGER NOT NULL,
    rank INTEGER NOT NULL,      -- of the group
    PRIMARY KEY (name, unit)
) STRICT, WITHOUT ROWID;

CREATE TABLE unit_labels (
    unit INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (unit, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX groups_by_unit ON groups (unit);
