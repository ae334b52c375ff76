#!/usr/bin/env bash
# Builds the fuzz programs for ClusterFuzzLite and OSS-Fuzz: programs and their seeds go to $OUT.
#
# Without these engines: SRC=.. OUT=/tmp/fuzz-out .clusterfuzzlite/build.sh, from a folder called
# faultless.
set -euo pipefail
cd "$SRC/faultless"
mkdir -p "$OUT"
host=$(rustc +nightly -vV | sed -n 's/^host: //p')

# The threads of this target switch stacks, which AddressSanitizer takes for errors.
without_sanitizer=(concurrency)
targets=$(cargo +nightly fuzz list)

for target in $targets; do
    if [[ " ${without_sanitizer[*]} " == *" $target "* ]]; then
        env --unset=RUSTFLAGS cargo +nightly fuzz build --sanitizer none --target-dir fuzz/target/plain "$target"
        cp "fuzz/target/plain/$host/release/$target" "$OUT/"
    else
        cargo +nightly fuzz build --sanitizer address --target-dir fuzz/target/address "$target"
        cp "fuzz/target/address/$host/release/$target" "$OUT/"
    fi
    # Inputs that show a planted bug are for the planted bug.
    (cd "fuzz/seeds/$target" && find . -type f ! -name 'plant-*' -print) | sort > "$OUT/$target.list"
    (cd "fuzz/seeds/$target" && zip --quiet "$OUT/${target}_seed_corpus.zip" -@) < "$OUT/$target.list"
    rm "$OUT/$target.list"
done
