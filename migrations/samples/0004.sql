-- Version 4 adds an index. Before, an id could be added in capitals and in small letters.
INSERT INTO job (provider, kind, remote_id, state, registered_at)
VALUES ('dune', 'dune', '01gbm4w2n0nmcgpzyw8ayk4yf2', 'registered', '2026-11-21 12:00:00.000');
