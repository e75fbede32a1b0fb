# What CI runs: format, clippy, docs, the README's test command.
check:
    .ci/run

# The tests alone; `just test daemon` for one binary of them, `just test daemon cancel::` for one module.
test BINARY="" *FILTER:
    cargo test {{ if BINARY == "" { "" } else { "--test " + BINARY } }} {{ FILTER }}

# jobtrack at work, on loopback.
demo:
    cargo run --example demo

# Simulate the polling policies (some minutes); with --write update docs/polling.md and its plot.
bench-polling *ARGS:
    cargo bench --bench polling -- {{ ARGS }}

# Attack the built programs (an hour or two; needs root): kills, power cuts, failing system calls, full sockets and
# logs, clock jumps. With names only those rigs, with --write update docs/reliability.md.
rigs *ARGS:
    cargo build --release --locked
    python3 tests/rigs {{ ARGS }}

# Simulate the daemon in virtual time and check it against a reference model; see tests/README.md. For
# example `just simulate --days 1000 --seed 7`; --print prints every event of a seed.
simulate *ARGS:
    cargo bench --bench simulate -- {{ ARGS }}

# Draw the pictures of docs/screens.md (half a minute).
screens:
    cargo build --locked
    python3 docs/screens/draw.py target/debug

# Licences and sources of all dependencies (needs cargo-deny).
deny:
    cargo deny check bans licenses sources

# Build the programs with the list of their dependencies inside, for `cargo audit bin` (needs cargo-auditable).
release:
    cargo auditable build --release --locked

# Write the manual pages to target/man.
man-pages:
    cargo run --quiet --locked --example man-pages -- target/man

# Build the Debian package in target/debian (needs cargo-deb).
deb: man-pages
    cargo deb --locked

# Build the RPM package in target/generate-rpm (needs cargo-generate-rpm).
rpm: man-pages
    cargo build --release --locked --bins
    strip --strip-unneeded target/release/jobtrackd target/release/jobtrack
    cargo generate-rpm

# Write the list of dependencies as CycloneDX to target/sbom/jobtrack.cdx.json (needs cargo-cyclonedx).
sbom:
    cargo cyclonedx --format json --spec-version 1.5 --override-filename jobtrack.cdx
    mkdir -p target/sbom
    mv jobtrack.cdx.json target/sbom/

# Compare jobtrackd's policies and Dune's own client in real time (ten minutes); with --write update
# docs/polling.md. Needs python3 and PyPI.
bench-live *ARGS:
    cargo bench --profile dev --bench live -- {{ ARGS }}

# Measure how long choosing the next poll takes among 100,000 due jobs.
bench-select-poll:
    cargo bench --bench instructions -- --time-selection

# Count the instructions of the pure parts of a poll, which are repeatable where times are not (needs valgrind).
bench-instructions *ARGS:
    cargo bench --bench instructions -- {{ ARGS }}

# Measure what a poll costs the release build (CPU, context switches, fsyncs, memory) beside simpler pollers,
# in ten minutes; --help lists the options. Needs python3, PyPI and strace.
bench-cost *ARGS:
    cargo bench --bench cost -- {{ ARGS }}

# Measure the memory of a tracked job, with one million jobs.
bench-memory *ARGS:
    cargo bench --bench memory -- {{ ARGS }}

# All figures of docs/performance.md, in twenty minutes on an idle machine; with --write update that page and its
# picture, with --quick only see that everything works. Needs python3, PyPI, strace, perf, valgrind and sqlite3.
bench-performance *ARGS:
    python3 benches/performance.py {{ ARGS }}

# Measure start, memory, requests, SQL and adds with up to a million jobs, in half an hour; --help lists the
# options. The databases are kept in target/scale (4 GB). Needs sqlite3.
bench-scale *ARGS:
    cargo bench --bench scale -- {{ ARGS }}
