-- Version 10 adds the states of rate limiters.
INSERT INTO rate_limiter_state (providers, next_slot_ms, completed_ms)
VALUES ('dune', 12000, '[58000,59150]');
