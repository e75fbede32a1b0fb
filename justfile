# What CI runs: format, clippy, docs, the README's test command.
check:
    .ci/run

# The tests alone; `just test daemon` for one binary of them, `just test daemon cancel::` for one module.
test BINARY="" *FILTER:
    cargo test {{ if BINARY == "" { "" } else { "--test " + BINARY } }} {{ FILTER }}

# jobtrack at work, on loopback.
demo:
    cargo run --example demo

# What the polling policy is worth (minutes); with --write into docs/polling.md.
bench-polling *ARGS:
    cargo bench --bench polling -- {{ ARGS }}

# Licences and sources of all dependencies (needs cargo-deny).
deny:
    cargo deny check bans licenses sources

# jobtrackd against its plain backoff and against Dune's own client, in real time, some ten minutes;
# with `--write` into docs/polling.md. Needs python3 and PyPI.
bench-live *ARGS:
    cargo bench --profile dev --bench live -- {{ ARGS }}

# What one turn costs among a hundred thousand due jobs.
bench-select-poll:
    cargo bench --bench select_poll
