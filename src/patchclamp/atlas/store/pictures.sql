-- What the base of an atlas of images holds besides: the pictures in which examples stand, as the network is shown them.

CREATE TABLE pictures (
    id INTEGER PRIMARY KEY,     -- number of the picture in what was shown
    name TEXT NOT NULL,
    label INTEGER,              -- its class, a row of tokens; NULL where the inputs carry no labels
    height INTEGER NOT NULL,    -- of what the network is shown, in pixels
    width INTEGER NOT NULL,
    png BLOB NOT NULL           -- normalisation undone; sides of at most 256 pixels
) STRICT;
