# Finds what building and testing need, and installs what is missing on Debian where we are root; elsewhere it says what to install.
# Sourced from the root of the repository by scripts that set `program`, which messages begin with.
# shellcheck shell=sh

have() { command -v "$1" >/dev/null 2>&1; }
say() { echo "$program: $1" >&2; }
die() { say "$1"; exit 1; }
may_install() { [ "$(id -u)" = 0 ] && have apt-get; }

updated=
install() {
    say "apt-get install $*"
    if [ -z "$updated" ]; then
        apt-get update -qq >&2 || die "apt-get update failed: is the network there?"
        updated=yes
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends --no-remove "$@" >/dev/null ||
        die "apt-get install $* failed"
}

# Packages to be installed by `install_needed`.
needed=
need() { needed="$needed $*"; }
install_needed() {
    [ -n "$needed" ] || return 0
    may_install || die "install what is missing, on Debian: apt-get install$needed"
    # shellcheck disable=SC2086 # a list of packages
    install $needed
    needed=
}

# Rust, and its standard library for WebAssembly. The packages follow upstream where Debian's `rustc` stands still.
debian_rust="rustc-web cargo-web rust-web-src libstd-rust-web-dev rust-web-llvm"
has_target() { ls "$(rustc --print sysroot)"/lib/rustlib/wasm32-unknown-unknown/lib/libstd-*.rlib >/dev/null 2>&1; }
has_sources() {
    [ -x /usr/bin/rustc ] && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/vendor" ]
}
need_rust() {
    if ! have cargo || ! { has_target || has_sources; }; then
        if may_install; then
            # shellcheck disable=SC2086 # a list of packages
            install $debian_rust
        elif have cargo; then
            die "install Rust's standard library for WebAssembly: rustup target add wasm32-unknown-unknown"
        else
            die "install Rust from https://rustup.rs, then: rustup target add wasm32-unknown-unknown"
        fi
    fi
    wanted=$(sed -n 's/^rust-version = "1\.\([0-9]*\)"$/\1/p' Cargo.toml)
    found=$(rustc --version | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p')
    [ "${found:-0}" -ge "$wanted" ] || die "Rust 1.$wanted or newer is needed, $(rustc --version) is found: rustup update"
}

# A C compiler, which also links build scripts and programs.
need_cc() { have cc || need gcc libc6-dev; }

# RocksDB is compiled from C++, and its interface is read with libclang, for which clang's package also brings headers.
has_libclang() {
    for folder in "${LIBCLANG_PATH:-}" /usr/lib/llvm-*/lib /usr/lib/*-linux-gnu /usr/lib64 /usr/lib /usr/local/lib \
        /Library/Developer/CommandLineTools/usr/lib; do
        [ -n "$folder" ] || continue
        # Not libclang-cpp, which is another library.
        for file in "$folder"/libclang.so "$folder"/libclang.so.* "$folder"/libclang-[0-9]*.so* "$folder"/libclang.dylib; do
            [ -e "$file" ] && return 0
        done
    done
    return 1
}
need_rocksdb() {
    have c++ || need g++
    has_libclang || need clang-19
}

# librdkafka is compiled by its own makefiles, against the system's OpenSSL.
need_rdkafka() {
    have make || need make
    [ -z "${OPENSSL_DIR:-}" ] || return 0
    have pkg-config || need pkg-config
    pkg-config --exists openssl 2>/dev/null || need libssl-dev
}

# Apache Kafka, for tests: Java runs it, and Maven fetches it. `tests/kafka/broker` says where it is kept.
need_kafka() {
    have java || need default-jre-headless
    have mvn || need maven
}
