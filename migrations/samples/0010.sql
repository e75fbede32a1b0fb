-- Version 10 adds the states of rate limiters.
INSERT INTO rate_limiter_state (account, next_slot_ms, completed_ms)
VALUES ('provider dune', 12000, '[58000,59150]');
